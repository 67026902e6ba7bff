package watch

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// Predicate chooses entries; the zero value chooses all. Nil selectors choose all.
type Predicate struct {
	Labels labels.Selector
	Fields fields.Selector
}

// Empty reports whether the predicate chooses everything.
func (p Predicate) Empty() bool {
	return (p.Labels == nil || p.Labels.Empty()) && (p.Fields == nil || p.Fields.Empty())
}

// Matches reports whether the predicate chooses the entry.
func (p Predicate) Matches(e *Entry) bool {
	return (p.Labels == nil || p.Labels.Matches(&e.labels)) && (p.Fields == nil || p.Fields.Matches(entryFields{e}))
}

// simplify makes selectors that choose everything nil, which is quick to ask.
func (p Predicate) simplify() Predicate {
	if p.Labels != nil && p.Labels.Empty() {
		p.Labels = nil
	}
	if p.Fields != nil && p.Fields.Empty() {
		p.Fields = nil
	}
	return p
}
