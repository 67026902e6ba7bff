package registry

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Form is what distinguishes another served version of a built-in kind, or the same kind in another group: its objects
// are stored in the form of the hub, and converted where they come in and go out.
type Form struct {
	Hub *Kind
	// From makes the form's object out of the hub's, To the hub's out of the form's. Neither changes what it is given, and
	// the two may share what they point to.
	From func(hub Object) Object
	To   func(obj Object) Object
	// Fields are the form's names of selectable fields and what the hub calls them.
	Fields map[string]string
}

// spoke declares a form: T is its type, H the hub's.
type spoke[T any, P interface {
	*T
	Object
}, H Object] struct {
	gvk     schema.GroupVersionKind
	hub     *Kind
	newList func() runtime.Object
	from    func(H) P
	to      func(P) H
	fields  map[string]string
	// validate checks a new object besides what the hub checks, validateUpdate a changed one, in the hub's form; both may be
	// nil.
	validate       func(P) field.ErrorList
	validateUpdate func(obj, old H) field.ErrorList
}

// kind returns the form as a kind: everything that the hub does with its own objects, done with the form's.
func (s spoke[T, P, H]) kind() *Kind {
	hub := s.hub
	to := func(obj Object) Object { return s.to(obj.(P)) }
	k := *hub
	k.GroupVersionKind = s.gvk
	k.New = func() Object { return P(new(T)) }
	k.NewList = s.newList
	k.Form = &Form{Hub: hub, From: func(o Object) Object { return s.from(o.(H)) }, To: to, Fields: s.fields}
	// The hub's functions change a copy in the hub's form, which is then put in the object's place.
	change := func(f func(Object)) func(Object) {
		return func(obj Object) {
			converted := to(obj)
			f(converted)
			*obj.(P) = *s.from(converted.(H))
		}
	}
	join := func(f func(obj, old Object)) func(obj, old Object) {
		if f == nil {
			return nil
		}
		return func(obj, old Object) { change(func(o Object) { f(o, to(old)) })(obj) }
	}
	compare := func(f func(obj, old Object) field.ErrorList) func(obj, old Object) field.ErrorList {
		return func(obj, old Object) field.ErrorList { return f(to(obj), to(old)) }
	}
	k.Default, k.PrepareCreate = change(hub.Default), change(hub.PrepareCreate)
	k.PrepareUpdate, k.PrepareStatus = join(hub.PrepareUpdate), join(hub.PrepareStatus)
	k.ValidateUpdate, k.ValidateStatus = compare(hub.ValidateUpdate), compare(hub.ValidateStatus)
	if s.validateUpdate != nil {
		k.ValidateUpdate = compare(func(obj, old Object) field.ErrorList {
			return append(hub.ValidateUpdate(obj, old), s.validateUpdate(obj.(H), old.(H))...)
		})
	}
	k.Validate = func(obj Object) field.ErrorList { return hub.Validate(to(obj)) }
	k.ValidateCreate = func(obj Object) field.ErrorList {
		errs := hub.ValidateCreate(to(obj))
		if s.validate != nil {
			errs = append(errs, s.validate(obj.(P))...)
		}
		return errs
	}
	s.show(&k, to)
	return &k
}
