package watch

import (
	"context"
	"sync"
	"sync/atomic"
)

// gate lets readers wait until the cache has come to a revision.
type gate struct {
	revision atomic.Int64
	mu       sync.Mutex
	waiters  map[*waiter]struct{}
}

type waiter struct {
	revision int64
	reached  chan struct{}
}

// advance lets those through who wait for a revision that has come.
func (g *gate) advance(revision int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if revision <= g.revision.Load() {
		return
	}
	g.revision.Store(revision)
	for w := range g.waiters {
		if w.revision <= revision {
			delete(g.waiters, w)
			close(w.reached)
		}
	}
}

// wait returns when the revision has come, or ctx's error.
func (g *gate) wait(ctx context.Context, revision int64) error {
	if g.revision.Load() >= revision {
		return nil
	}
	w := &waiter{revision: revision, reached: make(chan struct{})}
	g.mu.Lock()
	if g.revision.Load() >= revision {
		g.mu.Unlock()
		return nil
	}
	if g.waiters == nil {
		g.waiters = map[*waiter]struct{}{}
	}
	g.waiters[w] = struct{}{}
	g.mu.Unlock()
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.waiters, w)
		return ctx.Err()
	}
}
