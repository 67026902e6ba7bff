package watch

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/memstore"
)

// breakable is a store whose first watch can be broken and kept from beginning again.
type breakable struct {
	store.Store
	broken  context.Context // the first watch ends with it
	snap    context.CancelFunc
	ended   chan struct{} // it has
	resumed chan struct{} // and may begin again
}

func (b *breakable) Watch(ctx context.Context, prefix string, after int64, fn func([]store.Event, int64) error) error {
	if b.broken.Err() != nil {
		return b.Store.Watch(ctx, prefix, after, fn)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.broken, cancel)()
	err := b.Store.Watch(ctx, prefix, after, fn)
	if b.broken.Err() != nil {
		close(b.ended)
		<-b.resumed
	}
	return err
}

// breakNow breaks the watch and waits until it has ended.
func (b *breakable) breakNow() {
	b.snap()
	<-b.ended
}

func newBreakable(t *testing.T) (*breakable, *Cache, *Collection) {
	b := &breakable{Store: memstore.New(), ended: make(chan struct{}), resumed: make(chan struct{})}
	b.broken, b.snap = context.WithCancel(context.Background())
	cache := New(Config{Store: b})
	col, err := cache.Add(t.Context(), pods)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cache.Run(ctx) }()
	t.Cleanup(func() { cancel(); b.snap(); require.NoError(t, <-ended) })
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
	b.breakNow()
	commit(t, b, store.Op{Key: key("a", "one"), Expected: -1}, store.Op{Key: key("a", "two"), Value: pod{}.seal()})
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
	b.breakNow()
	commit(t, b, store.Op{Key: key("a", "one"), Expected: -1})
	last := commit(t, b, store.Op{Key: key("a", "two"), Value: pod{}.seal()})
	require.NoError(t, b.Compact(t.Context(), last))
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
