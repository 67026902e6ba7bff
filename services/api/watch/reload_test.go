package watch

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/memstore"
)

// breakable is a store whose watches can be broken and kept from beginning again.
type breakable struct {
	store.Store
	broken  chan struct{} // watches end
	resumed chan struct{} // and begin again
}

func (b *breakable) Watch(ctx context.Context, prefix string, after int64, fn func([]store.Event, int64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-b.broken:
			cancel(errors.New("broken"))
		case <-ctx.Done():
		}
	}()
	err := b.Store.Watch(ctx, prefix, after, fn)
	if context.Cause(ctx) != nil && ctx.Err() != nil {
		<-b.resumed
	}
	return err
}

func newBreakable(t *testing.T) (*breakable, *Cache, *Collection) {
	b := &breakable{Store: memstore.New(), broken: make(chan struct{}), resumed: make(chan struct{})}
	cache := New(Config{Store: b})
	col, err := cache.Add(t.Context(), pods)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cache.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	<-cache.Ready()
	return b, cache, col
}

func commit(t *testing.T, s store.Store, ops ...store.Op) int64 {
	revision, err := s.Commit(t.Context(), ops...)
	require.NoError(t, err)
	return revision
}

func TestCacheResumesWhereItWas(t *testing.T) {
	b, cache, col := newBreakable(t)
	commit(t, b, store.Op{Key: key("a", "one"), Value: pod{}.seal()})
	since, err := cache.Sync(t.Context())
	require.NoError(t, err)
	watcher, err := col.Watch(t.Context(), WatchOptions{Since: since})
	require.NoError(t, err)
	close(b.broken)
	commit(t, b, store.Op{Key: key("a", "one"), Expected: -1}, store.Op{Key: key("a", "two"), Value: pod{}.seal()})
	b.broken = make(chan struct{})
	close(b.resumed)
	events, err := watcher.Next(t.Context())
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, "-one", short(events[0]))
	require.Equal(t, "+two", short(events[1]))
	watcher.Stop()
}

func TestCacheLoadsAnewWhenHistoryIsGone(t *testing.T) {
	b, cache, col := newBreakable(t)
	commit(t, b, store.Op{Key: key("a", "one"), Value: pod{}.seal()})
	since, err := cache.Sync(t.Context())
	require.NoError(t, err)
	watcher, err := col.Watch(t.Context(), WatchOptions{Since: since})
	require.NoError(t, err)
	close(b.broken)
	commit(t, b, store.Op{Key: key("a", "one"), Expected: -1})
	last := commit(t, b, store.Op{Key: key("a", "two"), Value: pod{}.seal()})
	require.NoError(t, b.Compact(t.Context(), last))
	b.broken = make(chan struct{})
	close(b.resumed)
	_, err = watcher.Next(t.Context())
	require.ErrorIs(t, err, ErrExpired)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = cache.Sync(ctx)
	require.NoError(t, err)
	require.Equal(t, "a/two", names(col.List(Query{}).Entries))
	_, err = col.Watch(ctx, WatchOptions{Since: since})
	require.ErrorIs(t, err, ErrExpired)
}
