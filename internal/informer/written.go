package informer

import (
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
)

// writtenLife is when a write stops holding up its owner although the informer has not shown it: after a restored
// backup it never will.
const writtenLife = 30 * time.Second

// Written remembers, per owner, what a controller has written and its informer may not show yet. A controller that
// waits for Shown before it counts cannot make the same object twice. It is safe for concurrent use.
type Written[T client.Object] struct {
	informer *Informer[T]

	mu     sync.Mutex
	owners map[Key]*writes
}

type writes struct {
	upTo    int64
	deleted map[types.UID]Key
	last    time.Time
}

// NewWritten returns a Written whose writes will be seen through i.
func NewWritten[T client.Object](i *Informer[T]) *Written[T] {
	return &Written[T]{informer: i, owners: map[Key]*writes{}}
}

// Stored notes that obj was created or updated for owner and is now as given.
func (w *Written[T]) Stored(owner Key, obj T) {
	revision, err := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return // opaque to this API's clients: only the speed of noticing suffers
	}
	w.note(owner, func(o *writes) { o.upTo = max(o.upTo, revision) })
}

// Deleted notes that the API accepted the deletion of obj for owner.
func (w *Written[T]) Deleted(owner Key, obj T) {
	w.note(owner, func(o *writes) { o.deleted[obj.GetUID()] = KeyOf(obj) })
}

func (w *Written[T]) note(owner Key, fn func(*writes)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.owners[owner]
	if o == nil {
		o = &writes{deleted: map[types.UID]Key{}}
		w.owners[owner] = o
	}
	o.last = time.Now()
	fn(o)
}

// Shown says whether the informer shows everything that was noted for owner.
func (w *Written[T]) Shown(owner Key) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.owners[owner]
	if o == nil {
		return true
	}
	if time.Since(o.last) < writtenLife {
		if w.informer.Revision() < o.upTo {
			return false
		}
		for uid, key := range o.deleted {
			if obj, ok := w.informer.Get(key.Namespace, key.Name); ok && obj.GetUID() == uid && obj.GetDeletionTimestamp() == nil {
				return false
			}
			delete(o.deleted, uid)
		}
	}
	delete(w.owners, owner)
	return true
}
