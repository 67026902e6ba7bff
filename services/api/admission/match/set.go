package match

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// Set holds what has been made of the objects of one kind, in the order of their names, and keeps up with them: each is
// made once per revision. A Set of no objects costs one comparison.
type Set[T any] struct {
	source Source
	make   func(obj registry.Object) T
	kind   *registry.Kind

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

// Source is where objects are; *server.Server is one.
type Source interface {
	// Settled returns the objects of a kind, among them all that this process has written; nil when it is not served.
	Settled(ctx context.Context, gvk schema.GroupVersionKind) (*watch.Collection, error)
}

// NewSet returns the Set of a kind's objects. One that cannot be read is left out: the cache has logged it.
func NewSet[T any](source Source, gvk schema.GroupVersionKind, make func(obj registry.Object) T) *Set[T] {
	kind, _ := registry.Lookup(gvk)
	return &Set[T]{source: source, kind: kind, make: make}
}

// All returns what has been made; it is shared.
func (s *Set[T]) All(ctx context.Context) ([]T, error) {
	if s.kind == nil {
		return nil, nil
	}
	objects, err := s.source.Settled(ctx, s.kind.GroupVersionKind)
	if err != nil || objects == nil {
		return nil, err
	}
	changed := objects.Changed()
	if now := s.now.Load(); now != nil && now.changed >= changed {
		return now.all, nil
	}
	return s.renew(objects, changed), nil
}

func (s *Set[T]) renew(objects *watch.Collection, changed int64) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now.Load()
	if before != nil && before.changed >= changed {
		return before.all
	}
	next := &made[T]{changed: changed, revisions: map[string]revision[T]{}}
	for _, e := range sorted(objects) {
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

func sorted(objects *watch.Collection) []*watch.Entry {
	entries := slices.Clone(objects.List(watch.Query{}).Entries)
	entries = slices.DeleteFunc(entries, func(e *watch.Entry) bool { return e.Err != nil })
	slices.SortFunc(entries, func(a, b *watch.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}
