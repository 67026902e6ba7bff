package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"karve.dev/karve/services/api/store"
)

const (
	// replay is how many revisions before the newest the cache begins at: it loads the state as it was then and takes
	// in what happened since as history, so that clients go on watching after a restart where they were.
	replay = 1_000
	// expireEvery is how often old history is dropped.
	expireEvery = time.Minute

	firstRetry, lastRetry = 50 * time.Millisecond, 5 * time.Second
)

// Run loads the collections and keeps them current until ctx ends; it returns nil then, after all watchers have
// ended with ErrClosed. Losing the store is not an error: it tries again.
func (c *Cache) Run(ctx context.Context) error {
	defer c.close()
	expiring := make(chan struct{})
	go func() { defer close(expiring); c.expireLoop(ctx) }()
	defer func() { <-expiring }()
	delay, loaded := firstRetry, false
	for ctx.Err() == nil {
		began := time.Now()
		err := c.feed(ctx, &loaded)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > lastRetry {
			delay = firstRetry
		}
		c.log.Warn("the watch on the store ended, trying again", zap.Error(err), zap.Int64("revision", c.Revision()))
		select {
		case <-time.After(delay/2 + rand.N(delay)):
		case <-ctx.Done():
		}
		delay = min(2*delay, lastRetry)
	}
	return nil
}

// feed takes in the store's changes until that fails. When history is gone the collections must be loaded anew.
func (c *Cache) feed(ctx context.Context, loaded *bool) error {
	if !*loaded {
		if err := c.load(ctx); err != nil {
			return err
		}
		*loaded = true
	}
	err := c.cfg.Store.Watch(ctx, c.cfg.Prefix, c.Revision(), c.take)
	if errors.Is(err, store.ErrCompacted) {
		*loaded = false
	}
	return err
}

// load fills every collection with the state of one revision, a little in the past where the store still has that.
func (c *Cache) load(ctx context.Context) error {
	newest, err := c.cfg.Store.Revision(ctx)
	if err != nil {
		return fmt.Errorf("ask the store's revision: %w", err)
	}
	c.mu.Lock()
	c.state = ready
	all := make([]*Collection, 0, len(c.collections))
	for _, col := range c.collections {
		all = append(all, col)
	}
	c.mu.Unlock()
	at := max(newest-replay, 1, c.Revision()) // never back: watchers were told that far
	err = c.loadAll(ctx, all, at)
	if errors.Is(err, store.ErrCompacted) {
		at = newest
		err = c.loadAll(ctx, all, at)
	}
	if err != nil {
		return err
	}
	c.gate.advance(at)
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
	return nil
}

func (c *Cache) loadAll(ctx context.Context, all []*Collection, revision int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, col := range all {
		group.Go(func() error {
			kvs, _, err := c.cfg.Store.List(ctx, col.resource.Prefix, store.ListOptions{Revision: revision})
			if err != nil {
				return fmt.Errorf("load %s: %w", col.resource.Prefix, err)
			}
			col.load(kvs, revision, false)
			return nil
		})
	}
	return group.Wait()
}

// take hands a batch of the store's events to the collections. Those of one collection go together, so that a
// transaction is seen whole.
func (c *Cache) take(events []store.Event, revision int64) error {
	var batches map[*Collection][]store.Event
	for len(events) > 0 {
		col, n := c.run(events)
		if n == len(events) && batches == nil { // the usual case
			if col != nil {
				col.apply(events)
			}
			break
		}
		if batches == nil {
			batches = map[*Collection][]store.Event{}
		}
		batches[col] = append(batches[col], events[:n]...)
		events = events[n:]
	}
	for col, events := range batches {
		if col != nil {
			col.apply(events)
		}
	}
	c.gate.advance(revision)
	return nil
}

// run returns the collection of the first event, nil when there is none, and how many events in a row are of it.
func (c *Cache) run(events []store.Event) (*Collection, int) {
	prefix, _ := c.prefixOf(events[0].KV.Key)
	n := 1
	for n < len(events) {
		if other, _ := c.prefixOf(events[n].KV.Key); other != prefix {
			break
		}
		n++
	}
	return c.Collection(prefix), n
}

func (c *Cache) expireLoop(ctx context.Context) {
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			c.each(func(col *Collection) { col.expire(now) })
		case <-ctx.Done():
			return
		}
	}
}

func (c *Cache) each(fn func(*Collection)) {
	c.mu.RLock()
	all := make([]*Collection, 0, len(c.collections))
	for _, col := range c.collections {
		all = append(all, col)
	}
	c.mu.RUnlock()
	for _, col := range all {
		fn(col)
	}
}

func (c *Cache) close() {
	c.mu.Lock()
	c.state = closed
	c.mu.Unlock()
	c.each(func(col *Collection) { col.close(ErrClosed) })
}
