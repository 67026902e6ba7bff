package registry

import "k8s.io/apimachinery/pkg/api/equality"

// set gives a field that is zero a value.
func set[T comparable](p *T, value T) {
	if *p == *new(T) {
		*p = value
	}
}

// point gives a pointer that is nil a value.
func point[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

func equal(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
