package watch

import (
	"cmp"
	"slices"
	"unique"
)

// pairs are a small sorted map. A Go map of five labels takes many times its bytes; and since objects repeat each
// other's labels, every string is kept once for all of them.
type pairs []pair

type pair struct{ k, v unique.Handle[string] }

func (p pair) key() string   { return p.k.Value() }
func (p pair) value() string { return p.v.Value() }

// newPairs returns the map as pairs, or old when that says the same.
func newPairs(m map[string]string, old pairs) pairs {
	if old.equal(m) {
		return old
	}
	out := make(pairs, 0, len(m))
	for k, v := range m {
		out = append(out, pair{unique.Make(k), unique.Make(v)})
	}
	slices.SortFunc(out, func(a, b pair) int { return cmp.Compare(a.key(), b.key()) })
	return out
}

func (p pairs) equal(m map[string]string) bool {
	if len(p) != len(m) {
		return false
	}
	for _, x := range p {
		if v, ok := m[x.key()]; !ok || v != x.value() {
			return false
		}
	}
	return true
}

// Lookup implements labels.Labels.
func (p pairs) Lookup(key string) (string, bool) {
	for i := range p { // a handful: searching in halves is no faster
		if p[i].key() == key {
			return p[i].value(), true
		}
	}
	return "", false
}

// Has implements labels.Labels and fields.Fields.
func (p pairs) Has(key string) bool {
	_, ok := p.Lookup(key)
	return ok
}

// Get implements labels.Labels and fields.Fields.
func (p pairs) Get(key string) string {
	value, _ := p.Lookup(key)
	return value
}
