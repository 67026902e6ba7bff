package maintenance

import (
	"context"
	"sync"

	"karve.dev/karve/services/api/store"
)

// Hold is a store whose writers can be made to wait. It is safe for concurrent use.
type Hold struct {
	store.Store
	writers sync.RWMutex
}

var _ store.Store = (*Hold)(nil)

// Wrap returns a store that passes everything on to inner.
func Wrap(inner store.Store) *Hold { return &Hold{Store: inner} }

// Commit implements store.Store. It waits while somebody has the store alone.
func (h *Hold) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	h.writers.RLock()
	defer h.writers.RUnlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return h.Store.Commit(ctx, ops...)
}

// alone calls fn with the store below, while nobody else writes to it through h.
func (h *Hold) alone(fn func(s store.Store) error) error {
	h.writers.Lock()
	defer h.writers.Unlock()
	return fn(h.Store)
}
