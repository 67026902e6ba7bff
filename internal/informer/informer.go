// Package informer keeps local, indexed copies of the kinds that controllers read. One Set is shared by all services
// of a process, so that each kind is watched and held once.
//
// Objects from an informer are shared: DeepCopy before changing one. managedFields are dropped.
package informer

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/labels"

	"karve.dev/karve/internal/client"
)

// Informer holds every object of one kind. Handlers and indexes are added before the Set runs; reading is safe at
// any time from any goroutine.
type Informer[T client.Object] struct {
	newObject func() T

	mu       sync.RWMutex
	objects  map[Key]T
	indexes  map[string]*index[T]
	handlers []func(old, new T)
	synced   chan struct{}
	syncOnce sync.Once
	resource string // the newest revision seen
}

// Key names an object; Namespace is empty for cluster-scoped kinds.
type Key struct{ Namespace, Name string }

// String returns "namespace/name", or the name alone.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// KeyOf returns an object's key.
func KeyOf(obj client.Object) Key { return Key{obj.GetNamespace(), obj.GetName()} }

type index[T client.Object] struct {
	values func(T) []string
	byKey  map[string]map[Key]T
}

// Get returns the object; ok is false when there is none.
func (i *Informer[T]) Get(namespace, name string) (obj T, ok bool) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	obj, ok = i.objects[Key{namespace, name}]
	return obj, ok
}

// List returns the objects of a namespace (all of them when it is empty) that selector matches (nil: every one), in
// no order.
func (i *Informer[T]) List(namespace string, selector labels.Selector) []T {
	i.mu.RLock()
	defer i.mu.RUnlock()
	var out []T
	if byNamespace := i.indexes[namespaceIndex]; namespace != "" && byNamespace != nil {
		for _, obj := range byNamespace.byKey[namespace] {
			if selector == nil || selector.Matches(labels.Set(obj.GetLabels())) {
				out = append(out, obj)
			}
		}
		return out
	}
	for _, obj := range i.objects {
		if selector == nil || selector.Matches(labels.Set(obj.GetLabels())) {
			out = append(out, obj)
		}
	}
	return out
}

// Len returns how many objects there are.
func (i *Informer[T]) Len() int {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return len(i.objects)
}

const namespaceIndex = "namespace"

// AddIndex makes ByIndex(name, …) find objects by the values that fn gives. Adding the same name again is a no-op,
// so that several users of a shared informer can each ask for an index they need.
func (i *Informer[T]) AddIndex(name string, fn func(T) []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.indexes[name] != nil {
		return
	}
	ix := &index[T]{values: fn, byKey: map[string]map[Key]T{}}
	for _, obj := range i.objects {
		ix.add(obj)
	}
	i.indexes[name] = ix
}

// ByIndex returns the objects whose index value is value, in no order.
func (i *Informer[T]) ByIndex(name, value string) []T {
	i.mu.RLock()
	defer i.mu.RUnlock()
	ix := i.indexes[name]
	if ix == nil {
		return nil
	}
	out := make([]T, 0, len(ix.byKey[value]))
	for _, obj := range ix.byKey[value] {
		out = append(out, obj)
	}
	return out
}

// OnChange calls fn for every change, in order, from one goroutine: old is the zero T for an addition, new for a
// deletion. It must not block.
func (i *Informer[T]) OnChange(fn func(old, new T)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handlers = append(i.handlers, fn)
}

// WaitSynced blocks until the first complete state has arrived.
func (i *Informer[T]) WaitSynced(ctx context.Context) error {
	select {
	case <-i.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *index[T]) add(obj T) {
	for _, v := range x.values(obj) {
		if x.byKey[v] == nil {
			x.byKey[v] = map[Key]T{}
		}
		x.byKey[v][KeyOf(obj)] = obj
	}
}

func (x *index[T]) remove(obj T) {
	for _, v := range x.values(obj) {
		delete(x.byKey[v], KeyOf(obj))
		if len(x.byKey[v]) == 0 {
			delete(x.byKey, v)
		}
	}
}

// set stores obj, or removes what is under key when present is false, and tells the handlers.
func (i *Informer[T]) set(key Key, obj T, present bool) {
	i.mu.Lock()
	old, had := i.objects[key]
	if had {
		for _, ix := range i.indexes {
			ix.remove(old)
		}
		delete(i.objects, key)
	}
	if present {
		i.objects[key] = obj
		for _, ix := range i.indexes {
			ix.add(obj)
		}
	}
	handlers := i.handlers
	i.mu.Unlock()
	if !had && !present {
		return
	}
	for _, fn := range handlers {
		fn(old, obj)
	}
}
