package maintenance

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/api/store"
)

// settle is how long writers are still refused after a restore. Controllers decide by what their watches have told them,
// one watch a kind: in that time all of them have been told.
const settle = 500 * time.Millisecond

// Hold is a store whose writers can be kept out. It is safe for concurrent use.
type Hold struct {
	store.Store
	writers   sync.RWMutex
	restoring atomic.Bool
}

var _ store.Store = (*Hold)(nil)

// Wrap returns a store that passes everything on to inner.
func Wrap(inner store.Store) *Hold { return &Hold{Store: inner} }

// Commit implements store.Store. While a backup is restored it refuses: a writer that waited would carry out afterwards what
// it decided by half of the picture. Clients come again, and decide anew.
func (h *Hold) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	h.writers.RLock()
	defer h.writers.RUnlock()
	if h.restoring.Load() {
		return 0, apierrors.NewTooManyRequests("a backup is being restored, please try again later", 1)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return h.Store.Commit(ctx, ops...)
}

// pause calls fn, which does not write through h, while everybody who does waits.
func (h *Hold) pause(fn func() error) error {
	h.writers.Lock()
	defer h.writers.Unlock()
	return fn()
}

// restore calls fn with the store below while everybody else who writes is refused. It is called once at a time.
func (h *Hold) restore(ctx context.Context, fn func(s store.Store) error) error {
	h.restoring.Store(true)
	defer h.restoring.Store(false)
	if err := h.pause(func() error { return nil }); err != nil { // those who are in come out, and nobody comes in any more
		return err
	}
	if err := fn(h.Store); err != nil {
		return err
	}
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}
