package registry

import (
	"time"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// define turns a declaration into a Kind: it wraps the typed functions and fills in those that were left out.
func define[T Object](s Spec[T]) *Kind {
	k := &Kind{
		GroupVersionKind: s.GVK,
		Resource:         s.Resource, Singular: s.Singular, ShortNames: s.ShortNames, Categories: s.Categories,
		Namespaced: s.Namespaced, Verbs: s.Verbs, Computed: s.Computed,
		New: func() Object { return s.New() }, NewList: s.NewList,
		Default:        on(s.Default),
		PrepareCreate:  on(or1(s.PrepareCreate, s.Life.create)),
		PrepareUpdate:  both(or2(s.PrepareUpdate, s.Life.update)),
		Validate:       validator(s.Validate),
		ValidateCreate: validator(s.ValidateCreate),
		ValidateUpdate: comparer(s.ValidateUpdate),
		ValidateStatus: comparer(s.ValidateStatus),
		ValidateName:   s.ValidateName,
		Columns:        s.Columns, Scale: s.Scale, Subresources: s.Subresources,
	}
	if k.NewList == nil {
		k.NewList = func() runtime.Object { return nil }
	}
	if k.ValidateName == nil {
		k.ValidateName = validation.NameIsDNSSubdomain
	}
	if status := or2(s.PrepareStatus, s.Life.status); status != nil {
		k.PrepareStatus = both(status)
	}
	if s.Warnings != nil {
		k.Warnings = func(obj, old Object) []string { return s.Warnings(obj.(T), typed[T](old)) }
	}
	if s.Fields != nil {
		k.Fields = func(obj Object) fields.Set { return s.Fields(obj.(T)) }
	}
	if s.GracePeriod != nil {
		k.GracePeriod = func(obj Object, asked *int64) int64 { return s.GracePeriod(obj.(T), asked) }
	}
	if s.PrepareDelete != nil {
		k.PrepareDelete = func(obj Object, now time.Time) { s.PrepareDelete(obj.(T), now) }
	}
	if k.Columns == nil {
		k.Columns = columns("Name|Age")
	}
	k.Cells = nameAndAge
	if s.Cells != nil {
		k.Cells = func(obj Object, now time.Time) []any { return s.Cells(obj.(T), now) }
	}
	return k
}

func or1[T Object](f, g func(T)) func(T) {
	if f != nil {
		return f
	}
	return g
}

func or2[T Object](f, g func(obj, old T)) func(obj, old T) {
	if f != nil {
		return f
	}
	return g
}

// typed is old as a T, or the zero T (nil) on create, when there is no old object.
func typed[T Object](old Object) T {
	t, _ := old.(T)
	return t
}

func on[T Object](f func(T)) func(Object) {
	if f == nil {
		return func(Object) {}
	}
	return func(obj Object) { f(obj.(T)) }
}

func both[T Object](f func(obj, old T)) func(obj, old Object) {
	if f == nil {
		return func(Object, Object) {}
	}
	return func(obj, old Object) { f(obj.(T), old.(T)) }
}

func validator[T Object](f func(T) field.ErrorList) func(Object) field.ErrorList {
	if f == nil {
		return func(Object) field.ErrorList { return nil }
	}
	return func(obj Object) field.ErrorList { return f(obj.(T)) }
}

func comparer[T Object](f func(obj, old T) field.ErrorList) func(obj, old Object) field.ErrorList {
	if f == nil {
		return func(Object, Object) field.ErrorList { return nil }
	}
	return func(obj, old Object) field.ErrorList { return f(obj.(T), old.(T)) }
}

// part is a subresource that writes a part of the object.
func part[T Object](name string, prepare func(obj, old T), validate func(obj, old T) field.ErrorList) Subresource {
	return Subresource{Name: name, Verbs: []string{"get", "patch", "update"}, Prepare: both(prepare), Validate: comparer(validate)}
}

func core(kind string) schema.GroupVersionKind { return gvk("", "v1", kind) }

func apps(kind string) schema.GroupVersionKind { return gvk("apps", "v1", kind) }

func gvk(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}
