// Package informer keeps local, indexed copies of the kinds that controllers read. One Set is shared by all services
// of a process, so that each kind is watched and held once.
//
// Objects from an informer are shared: DeepCopy before changing one. managedFields are dropped.
package informer

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/labels"

	"karve.dev/karve/internal/client"
)

// Informer holds every object of one kind. Handlers and indexes are added before the Set runs; reading is safe at
// any time from any goroutine.
type Informer[T client.Object] struct {
	newObject func() T
	fields    string

	mu       sync.RWMutex
	objects  map[Key]T
	indexes  map[string]*index[T]
	handlers []func(old, new T)
	synced   chan struct{}
	syncOnce sync.Once
	revision int64 // everything up to here is in objects

	// resume is where the next watch begins, empty for a new snapshot; only the goroutine in run uses it.
	resume string
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

// ByIndex returns the objects whose index value is value, in no order. It panics when no such index was added.
func (i *Informer[T]) ByIndex(name, value string) []T {
	i.mu.RLock()
	defer i.mu.RUnlock()
	ix := i.indexes[name]
	if ix == nil {
		panic(fmt.Sprintf("informer of %T: no index %q", i.newObject(), name))
	}
	out := make([]T, 0, len(ix.byKey[value]))
	for _, obj := range ix.byKey[value] {
		out = append(out, obj)
	}
	return out
}

// Revision returns how far the informer has come: every change of the kind up to this revision can be read here. A
// writer that compares it with the resourceVersion it got knows whether the informer shows its write yet.
func (i *Informer[T]) Revision() int64 {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.revision
}

// OnChange calls fn for every change, in order, from one goroutine: old is the zero T for an addition, new for a
// deletion. An object that was deleted and made again in one step is told as a deletion and an addition. The informer
// already shows the change, and perhaps later ones. fn must not block.
func (i *Informer[T]) OnChange(fn func(old, new T)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handlers = append(i.handlers, fn)
}

// OnKey calls fn with the key of every object that comes, changes or goes, as OnChange does.
func (i *Informer[T]) OnKey(fn func(Key)) {
	i.OnChange(func(old, new T) { fn(KeyOf(Newest(old, new))) })
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

// put stores obj and tells the handlers; a stored object with the same resourceVersion is obj already. The revision,
// when not 0, is noted in the same step, so that who is woken by the change does not find an older revision.
func (i *Informer[T]) put(obj T, revision int64) {
	key := KeyOf(obj)
	i.mu.Lock()
	old, had := i.objects[key]
	i.revision = max(i.revision, revision)
	if had && old.GetUID() == obj.GetUID() && old.GetResourceVersion() == obj.GetResourceVersion() && obj.GetResourceVersion() != "" {
		i.mu.Unlock()
		return
	}
	if had {
		i.unindex(old)
	}
	i.objects[key] = obj
	for _, ix := range i.indexes {
		ix.add(obj)
	}
	handlers := i.handlers
	i.mu.Unlock()
	if had && old.GetUID() != obj.GetUID() {
		var none T
		tell(handlers, old, none)
		old = none
	}
	tell(handlers, old, obj)
}

// drop removes what is under key and tells the handlers.
func (i *Informer[T]) drop(key Key, revision int64) {
	i.mu.Lock()
	old, had := i.objects[key]
	i.revision = max(i.revision, revision)
	if had {
		i.unindex(old)
		delete(i.objects, key)
	}
	handlers := i.handlers
	i.mu.Unlock()
	if had {
		var none T
		tell(handlers, old, none)
	}
}

func (i *Informer[T]) unindex(obj T) {
	for _, ix := range i.indexes {
		ix.remove(obj)
	}
}

func tell[T any](handlers []func(old, new T), old, new T) {
	for _, fn := range handlers {
		fn(old, new)
	}
}

// Newest returns the object that a handler of changes was told of: new, or old when it is gone.
func Newest[T client.Object](old, new T) T {
	var none T
	if client.Object(new) != client.Object(none) {
		return new
	}
	return old
}
