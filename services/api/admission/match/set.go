package match

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// Set holds what has been made of the objects of one kind, in the order of their names, and keeps up with them: each is
// made once per revision. A Set of no objects costs one comparison.
type Set[T any] struct {
	objects *watch.Collection
	make    func(obj registry.Object) T
	kind    *registry.Kind

	now atomic.Pointer[made[T]]
	mu  sync.Mutex
}

// made is all that there is between two changes.
type made[T any] struct {
	changed   int64
	all       []T
	revisions map[string]revision[T]
}

type revision[T any] struct {
	at   int64
	item T
}

// NewSet returns the Set of a kind's objects; a nil collection has none. A configuration that cannot be read is left out:
// the cache has logged it.
func NewSet[T any](objects *watch.Collection, kind *registry.Kind, make func(obj registry.Object) T) *Set[T] {
	return &Set[T]{objects: objects, kind: kind, make: make}
}

// All returns what has been made; it is shared.
func (s *Set[T]) All() []T {
	if s.objects == nil {
		return nil
	}
	changed := s.objects.Changed()
	if now := s.now.Load(); now != nil && now.changed >= changed {
		return now.all
	}
	return s.renew(changed)
}

func (s *Set[T]) renew(changed int64) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now.Load()
	if before != nil && before.changed >= changed {
		return before.all
	}
	next := &made[T]{changed: changed, revisions: map[string]revision[T]{}}
	for _, e := range s.sorted() {
		var r revision[T]
		if before != nil {
			r = before.revisions[e.Name]
		}
		if r.at != e.Revision {
			obj, err := codec.Load(s.kind, e.Value, e.Revision)
			if err != nil {
				continue
			}
			s.kind.Default(obj)
			r = revision[T]{e.Revision, s.make(obj)}
		}
		next.revisions[e.Name] = r
		next.all = append(next.all, r.item)
	}
	s.now.Store(next)
	return next.all
}

func (s *Set[T]) sorted() []*watch.Entry {
	entries := slices.Clone(s.objects.List(watch.Query{}).Entries)
	entries = slices.DeleteFunc(entries, func(e *watch.Entry) bool { return e.Err != nil })
	slices.SortFunc(entries, func(a, b *watch.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}
