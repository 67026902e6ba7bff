package watch

import (
	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/selection"
)

// Degrees of the trees: wide where there are many entries, narrow where there is often only one.
const (
	treeDegree  = 32
	indexDegree = 8
)

type tree = btree.BTreeG[*Entry]

func byKey(a, b *Entry) bool { return a.Key < b.Key }

func newTree() *tree { return btree.NewG(treeDegree, byKey) }

// termKind says what a term is about.
type termKind uint8

const (
	termAll termKind = iota
	termNamespace
	termLabel
	termField
	termObject
	termKinds
)

// term is one equality that an object satisfies: entries are indexed by those about labels and fields, watchers are filed
// under the most selective one that their predicate demands.
type term struct {
	kind       termKind
	key, value string
}

// index finds the entries that satisfy a term, in the order of keys.
type index struct {
	fields []string
	byTerm map[term]*tree
	free   *btree.FreeListG[*Entry]
}

func newIndex(fields []string) *index {
	return &index{fields: fields, byTerm: map[term]*tree{}, free: btree.NewFreeListG[*Entry](64)}
}

// terms calls yield with the terms of an entry that are indexed.
func (x *index) terms(e *Entry, yield func(term)) {
	for _, l := range e.labels {
		yield(term{termLabel, l.key(), l.value()})
	}
	for _, f := range x.fields {
		yield(term{termField, f, e.fields.Get(f)})
	}
}

// replace takes old's place with new; either may be nil.
func (x *index) replace(old, new *Entry) {
	if old != nil {
		x.terms(old, func(t term) {
			if new == nil || !new.satisfies(t) {
				x.remove(t, old)
			}
		})
	}
	if new != nil {
		x.terms(new, func(t term) { x.add(t, new) })
	}
}

func (x *index) add(t term, e *Entry) {
	entries := x.byTerm[t]
	if entries == nil {
		entries = btree.NewWithFreeListG(indexDegree, byKey, x.free)
		x.byTerm[t] = entries
	}
	entries.ReplaceOrInsert(e)
}

func (x *index) remove(t term, e *Entry) {
	entries := x.byTerm[t]
	if entries == nil {
		return
	}
	entries.Delete(e)
	if entries.Len() == 0 {
		delete(x.byTerm, t)
	}
}

// satisfies reports whether an indexed term holds for the entry.
func (e *Entry) satisfies(t term) bool {
	if t.kind == termLabel {
		value, ok := e.labels.Lookup(t.key)
		return ok && value == t.value
	}
	return e.fields.Get(t.key) == t.value
}

// narrowest returns the entries of the term that fewest satisfy among those that the predicate demands; ok is false when it
// demands none that is indexed. No entries: nil.
func (x *index) narrowest(p Predicate) (entries *tree, ok bool) {
	for _, t := range x.demands(p) {
		found := x.byTerm[t]
		if found == nil {
			return nil, true
		}
		if !ok || found.Len() < entries.Len() {
			entries, ok = found, true
		}
	}
	return entries, ok
}

// demands returns the indexed terms without which the predicate chooses nothing.
func (x *index) demands(p Predicate) (out []term) {
	if p.Fields != nil {
		for _, f := range x.fields {
			if value, ok := p.Fields.RequiresExactMatch(f); ok {
				out = append(out, term{termField, f, value})
			}
		}
	}
	if p.Labels == nil {
		return out
	}
	requirements, _ := p.Labels.Requirements()
	for _, r := range requirements {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if values := r.ValuesUnsorted(); len(values) == 1 {
				out = append(out, term{termLabel, r.Key(), values[0]})
			}
		}
	}
	return out
}
