package registry

import "k8s.io/apimachinery/pkg/api/equality"

// life is what a write does to the parts of an object that its author does not own.
type life[T Object] struct {
	create func(T)
	update func(obj, old T)
	status func(obj, old T)
}

// generations is for kinds with spec and status whose generation counts the changes of the spec.
func generations[T Object, S, U any](parts func(T) (*S, *U)) life[T] {
	plain := specAndStatus(parts)
	return life[T]{
		create: func(obj T) { plain.create(obj); obj.SetGeneration(1) },
		update: func(obj, old T) {
			plain.update(obj, old)
			spec, _ := parts(obj)
			was, _ := parts(old)
			raiseGeneration(obj, old, !equality.Semantic.DeepEqual(spec, was))
		},
		status: plain.status,
	}
}

// specAndStatus is for kinds with spec and status that carry no generation: a status is written only through its
// subresource, and there the spec stays.
func specAndStatus[T Object, S, U any](parts func(T) (*S, *U)) life[T] {
	return life[T]{
		create: func(obj T) {
			_, status := parts(obj)
			*status = *new(U)
		},
		update: func(obj, old T) {
			_, status := parts(obj)
			_, was := parts(old)
			*status = *was
		},
		status: func(obj, old T) {
			spec, _ := parts(obj)
			was, _ := parts(old)
			*spec = *was
			obj.SetGeneration(old.GetGeneration())
		},
	}
}

// counted is for kinds without a status whose generation counts the changes of spec, which is all that it returns.
func counted[T Object](spec func(T) any) life[T] {
	return life[T]{
		create: func(obj T) { obj.SetGeneration(1) },
		update: func(obj, old T) {
			raiseGeneration(obj, old, !equality.Semantic.DeepEqual(spec(obj), spec(old)))
		},
	}
}

// raiseGeneration keeps old's generation, one more when the spec changed.
func raiseGeneration(obj, old Object, changed bool) {
	obj.SetGeneration(old.GetGeneration())
	if changed {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}
