package registry

import (
	"time"

	"k8s.io/apimachinery/pkg/fields"
)

// show makes what only reads the object.
func (s spoke[T, P, H]) show(k *Kind, to func(Object) Object) {
	hub := s.hub
	k.Cells = func(obj Object, now time.Time) []any { return hub.Cells(to(obj), now) }
	if hub.Warnings != nil {
		k.Warnings = func(obj, old Object) []string {
			if old != nil {
				old = to(old)
			}
			return hub.Warnings(to(obj), old)
		}
	}
	if hub.Fields != nil {
		k.Fields = func(obj Object) fields.Set {
			known, out := hub.Fields(to(obj)), fields.Set{}
			for own, theirs := range s.fields {
				out[own] = known[theirs]
			}
			return out
		}
	}
}
