// Package storetest is what every store.Store must pass: etcd and memory run the same suite, which keeps the one in
// memory honest.
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/store"
)

// Run runs the suite; each test works below a prefix of its own of one store that open makes, but for those that
// compact or close it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	shared := open(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s store.Store, prefix string)
	}{
		{"Expectations", testExpectations},
		{"Values", testValues},
		{"Transaction", testTransaction},
		{"List", testList},
		{"ListAtRevision", testListAtRevision},
		{"Counters", testCounters},
		{"ReadsSeeWrites", testReadsSeeWrites},
		{"WatchResumes", testWatchResumes},
		{"WatchUnderWriters", testWatchUnderWriters},
		{"WatchProgress", testWatchProgress},
		{"WatchEnds", testWatchEnds},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, shared, "/registry/"+test.name+"/") })
	}
	t.Run("Compaction", func(t *testing.T) { testCompaction(t, open(t), "/registry/c/") })
	t.Run("Close", func(t *testing.T) { testClose(t, open(t), "/registry/c/") })
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func put(t testing.TB, s store.Store, key, value string, expected int64) int64 {
	t.Helper()
	revision, err := s.Commit(testContext(t), store.Op{Key: key, Value: []byte(value), Expected: expected})
	require.NoError(t, err)
	return revision
}

func remove(t testing.TB, s store.Store, key string, expected int64) int64 {
	t.Helper()
	revision, err := s.Commit(testContext(t), store.Op{Key: key, Expected: expected})
	require.NoError(t, err)
	return revision
}

func testExpectations(t *testing.T, s store.Store, prefix string) {
	ctx, key := testContext(t), prefix+"a"
	_, err := s.Get(ctx, key)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = s.Commit(ctx, store.Op{Key: key, Value: []byte("x"), Expected: 7})
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = s.Commit(ctx, store.Op{Key: key, Expected: 7})
	require.ErrorIs(t, err, store.ErrNotFound)

	created := put(t, s, key, "1", 0)
	_, err = s.Commit(ctx, store.Op{Key: key, Value: []byte("x"), Expected: 0})
	require.ErrorIs(t, err, store.ErrExists)

	updated := put(t, s, key, "2", created)
	require.Greater(t, updated, created)
	_, err = s.Commit(ctx, store.Op{Key: key, Value: []byte("x"), Expected: created})
	require.ErrorIs(t, err, store.ErrConflict)
	_, err = s.Commit(ctx, store.Op{Key: key, Expected: created})
	require.ErrorIs(t, err, store.ErrConflict)

	forced := put(t, s, key, "3", -1)
	kv, err := s.Get(ctx, key)
	require.NoError(t, err)
	require.Equal(t, store.KV{Key: key, Value: []byte("3"), Revision: forced}, kv)

	remove(t, s, key, forced)
	_, err = s.Get(ctx, key)
	require.ErrorIs(t, err, store.ErrNotFound)
	before, err := s.Revision(ctx)
	require.NoError(t, err)
	require.Equal(t, before, remove(t, s, key, -1), "deleting nothing changes nothing")
	require.Greater(t, put(t, s, key, "again", 0), before)
}

func testValues(t *testing.T, s store.Store, prefix string) {
	ctx := testContext(t)
	_, err := s.Commit(ctx, store.Op{Key: prefix + "empty", Value: []byte{}})
	require.NoError(t, err)
	kv, err := s.Get(ctx, prefix+"empty")
	require.NoError(t, err)
	require.Empty(t, kv.Value)

	value := []byte("mine")
	_, err = s.Commit(ctx, store.Op{Key: prefix + "copied", Value: value})
	require.NoError(t, err)
	copy(value, "ours")
	kv, err = s.Get(ctx, prefix+"copied")
	require.NoError(t, err)
	require.Equal(t, "mine", string(kv.Value), "the caller keeps its buffer")
}

func testTransaction(t *testing.T, s store.Store, prefix string) {
	ctx, a, b, c := testContext(t), prefix+"a", prefix+"b", prefix+"c"
	revA, revC := put(t, s, a, "1", 0), put(t, s, c, "1", 0)

	_, err := s.Commit(ctx, store.Op{Key: a, Value: []byte("2"), Expected: revA}, store.Op{Key: b, Value: []byte("2"), Expected: -1}, store.Op{Key: c, Expected: 1})
	var failed *store.FailedOpError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, store.FailedOpError{Index: 2, Key: c, Err: store.ErrConflict}, *failed)
	kv, err := s.Get(ctx, a)
	require.NoError(t, err)
	require.Equal(t, "1", string(kv.Value), "all or nothing")

	revision, err := s.Commit(ctx, store.Op{Key: a, Value: []byte("2"), Expected: revA}, store.Op{Key: b, Value: []byte("2")}, store.Op{Key: c, Expected: revC})
	require.NoError(t, err)
	kvs, _, err := s.List(ctx, prefix, store.ListOptions{})
	require.NoError(t, err)
	require.Equal(t, []store.KV{{Key: a, Value: []byte("2"), Revision: revision}, {Key: b, Value: []byte("2"), Revision: revision}}, kvs)

	_, err = s.Commit(ctx, store.Op{Key: a, Value: []byte("x"), Expected: -1}, store.Op{Key: a, Expected: -1})
	require.Error(t, err, "one key twice")
	_, err = s.Commit(ctx)
	require.Error(t, err, "nothing")
	_, err = s.Commit(ctx, make([]store.Op, store.MaxOps+1)...)
	require.Error(t, err, "too much")
}

func testList(t *testing.T, s store.Store, prefix string) {
	ctx := testContext(t)
	for i := range 10 {
		put(t, s, fmt.Sprintf("%sk/%d", prefix, i), fmt.Sprint(i), 0)
	}
	put(t, s, prefix+"k0", "not below k/", 0)
	put(t, s, prefix+"k", "neither", 0)

	all, revision, err := s.List(ctx, prefix+"k/", store.ListOptions{})
	require.NoError(t, err)
	require.Len(t, all, 10)
	newest, err := s.Revision(ctx)
	require.NoError(t, err)
	require.Equal(t, newest, revision)

	var paged []store.KV
	opts := store.ListOptions{Limit: 4, Revision: revision}
	put(t, s, prefix+"k/4", "changed between pages", -1)
	for {
		page, at, err := s.List(ctx, prefix+"k/", opts)
		require.NoError(t, err)
		require.Equal(t, revision, at)
		if paged = append(paged, page...); len(page) < opts.Limit {
			break
		}
		opts.After = page[len(page)-1].Key
	}
	require.Equal(t, all, paged)

	none, _, err := s.List(ctx, prefix+"none/", store.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, none)
}

func testListAtRevision(t *testing.T, s store.Store, prefix string) {
	ctx := testContext(t)
	first := put(t, s, prefix+"a", "1", 0)
	second := put(t, s, prefix+"b", "1", 0)
	third := remove(t, s, prefix+"a", first)
	for revision, want := range map[int64][]string{first: {"a"}, second: {"a", "b"}, third: {"b"}} {
		kvs, at, err := s.List(ctx, prefix, store.ListOptions{Revision: revision})
		require.NoError(t, err)
		require.Equal(t, revision, at)
		var got []string
		for _, kv := range kvs {
			got = append(got, kv.Key[len(prefix):])
		}
		require.Equal(t, want, got, "at %d", revision)
	}
	_, _, err := s.List(ctx, prefix, store.ListOptions{Revision: third + 1_000})
	require.ErrorIs(t, err, store.ErrFuture)
}

func testCompaction(t *testing.T, s store.Store, prefix string) {
	ctx := testContext(t)
	first := put(t, s, prefix+"a", "1", 0)
	second := put(t, s, prefix+"a", "2", first)
	gone := put(t, s, prefix+"gone", "1", 0)
	deleted := remove(t, s, prefix+"gone", gone)
	last := put(t, s, prefix+"b", "1", 0)
	require.ErrorIs(t, s.Compact(ctx, last+100), store.ErrFuture)
	require.NoError(t, s.Compact(ctx, deleted))
	require.ErrorIs(t, s.Compact(ctx, second), store.ErrCompacted)

	_, _, err := s.List(ctx, prefix, store.ListOptions{Revision: gone})
	require.ErrorIs(t, err, store.ErrCompacted)
	kvs, _, err := s.List(ctx, prefix, store.ListOptions{Revision: deleted})
	require.NoError(t, err)
	require.Equal(t, []store.KV{{Key: prefix + "a", Value: []byte("2"), Revision: second}}, kvs)
	require.ErrorIs(t, s.Watch(ctx, prefix, first, func([]store.Event, int64) error { return nil }), store.ErrCompacted)
	require.Equal(t, []store.Event{{KV: store.KV{Key: prefix + "b", Value: []byte("1"), Revision: last}}}, collect(t, s, prefix, deleted, 1))
	kv, err := s.Get(ctx, prefix+"a")
	require.NoError(t, err)
	require.Equal(t, second, kv.Revision)
}

func testClose(t *testing.T, s store.Store, prefix string) {
	put(t, s, prefix+"a", "1", 0)
	seen, ended := make(chan struct{}, 10), make(chan error, 1)
	go func() {
		ended <- s.Watch(context.Background(), prefix, 1, func([]store.Event, int64) error { seen <- struct{}{}; return nil })
	}()
	<-seen
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.Error(t, <-ended)
	_, err := s.Revision(testContext(t))
	require.Error(t, err)
}
