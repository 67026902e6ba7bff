package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/store"
)

// testCounters lets many writers count up one number by compare and swap: each success must be a step of one.
func testCounters(t *testing.T, s store.Store, prefix string) {
	const writers, steps = 8, 25
	key := prefix + "n"
	put(t, s, key, "0", 0)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range steps {
				countUp(t, s, key)
			}
		})
	}
	wg.Wait()
	kv, err := s.Get(testContext(t), key)
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(writers*steps), string(kv.Value))
}

func countUp(t *testing.T, s store.Store, key string) {
	ctx := testContext(t)
	for {
		kv, err := s.Get(ctx, key)
		if err != nil {
			t.Errorf("get: %v", err)
			return
		}
		n, _ := strconv.Atoi(string(kv.Value))
		_, err = s.Commit(ctx, store.Op{Key: key, Value: []byte(strconv.Itoa(n + 1)), Expected: kv.Revision})
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("commit: %v", err)
			return
		}
	}
}

// testReadsSeeWrites: whatever a writer has been told is seen by every read that begins afterwards.
func testReadsSeeWrites(t *testing.T, s store.Store, prefix string) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			ctx, key := testContext(t), fmt.Sprintf("%s%d", prefix, w)
			for i := range 20 {
				written, err := s.Commit(ctx, store.Op{Key: key, Value: []byte(strconv.Itoa(i)), Expected: -1})
				if err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				if newest, err := s.Revision(ctx); err != nil || newest < written {
					t.Errorf("revision %d after %d was acknowledged (%v)", newest, written, err)
				}
				if kv, err := s.Get(ctx, key); err != nil || kv.Revision != written {
					t.Errorf("read %d after %d was acknowledged (%v)", kv.Revision, written, err)
				}
			}
		})
	}
	wg.Wait()
}

var errEnough = errors.New("enough")

// collect returns the next n events after a revision.
func collect(t *testing.T, s store.Store, prefix string, after int64, n int) []store.Event {
	t.Helper()
	var out []store.Event
	err := s.Watch(testContext(t), prefix, after, func(events []store.Event, _ int64) error {
		if out = append(out, events...); len(out) >= n {
			return errEnough
		}
		return nil
	})
	require.ErrorIs(t, err, errEnough)
	return out
}

func testWatchResumes(t *testing.T, s store.Store, prefix string) {
	a := put(t, s, prefix+"a", "1", 0)
	put(t, s, "/registry/elsewhere/WatchResumes", "1", -1)
	b := put(t, s, prefix+"b", "", 0)
	both, err := s.Commit(testContext(t), store.Op{Key: prefix + "a", Expected: a}, store.Op{Key: prefix + "b", Value: []byte("2"), Expected: b})
	require.NoError(t, err)
	want := []store.Event{
		{KV: store.KV{Key: prefix + "a", Value: []byte("1"), Revision: a}},
		{KV: store.KV{Key: prefix + "b", Value: []byte(""), Revision: b}},
		{KV: store.KV{Key: prefix + "a", Revision: both}, Deleted: true},
		{KV: store.KV{Key: prefix + "b", Value: []byte("2"), Revision: both}},
	}
	for i, after := range []int64{a - 1, a, b} {
		got := collect(t, s, prefix, after, len(want)-i)
		for j := range got {
			if !got[j].Deleted && len(got[j].KV.Value) == 0 {
				got[j].KV.Value = []byte("") // nil or empty, a value that is there
			}
		}
		require.Equal(t, want[i:], got, "after %d", after)
	}
}

// testWatchUnderWriters: watches that begin before, amid and after the writing see the same events, each once, in order.
func testWatchUnderWriters(t *testing.T, s store.Store, prefix string) {
	const writers, writes = 6, 50
	start, err := s.Revision(testContext(t))
	require.NoError(t, err)
	results := make([][]store.Event, 4)
	var wg sync.WaitGroup
	for i := range results {
		begin := make(chan struct{})
		wg.Go(func() {
			<-begin
			results[i] = collect(t, s, prefix, start, writers*writes)
		})
		if i%2 == 0 {
			close(begin)
			continue
		}
		var writing sync.WaitGroup
		for w := range writers {
			writing.Go(func() { writeMany(t, s, fmt.Sprintf("%s%d-%d", prefix, i, w), writes/2) })
		}
		close(begin)
		writing.Wait()
	}
	wg.Wait()
	for i := range results {
		require.Equal(t, results[0], results[i])
	}
	for i, e := range results[0][1:] {
		require.Greater(t, e.KV.Revision, results[0][i].KV.Revision)
	}
}

func writeMany(t *testing.T, s store.Store, key string, n int) {
	for i := range n {
		op := store.Op{Key: key, Value: []byte(strconv.Itoa(i)), Expected: -1}
		if i%5 == 4 {
			op.Value = nil
		}
		if _, err := s.Commit(testContext(t), op); err != nil {
			t.Errorf("commit: %v", err)
		}
	}
}

// testWatchProgress: a watch whose keys rest learns how far the store has come once somebody has asked for that.
func testWatchProgress(t *testing.T, s store.Store, prefix string) {
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	start := put(t, s, prefix+"a", "1", 0)
	reached := make(chan int64, 100)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		_ = s.Watch(ctx, prefix, start-1, func(_ []store.Event, revision int64) error { reached <- revision; return nil })
	})
	require.Equal(t, start, <-reached)
	put(t, s, "/registry/elsewhere/WatchProgress", "1", -1)
	want, err := s.Revision(ctx)
	require.NoError(t, err)
	for got := start; got < want; {
		select {
		case got = <-reached:
		case <-ctx.Done():
			t.Fatalf("the watch did not come to %d", want)
		}
	}
}

func testWatchEnds(t *testing.T, s store.Store, prefix string) {
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, prefix, 0, func([]store.Event, int64) error { return nil }) }()
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	put(t, s, prefix+"a", "1", 0)
	require.ErrorIs(t, s.Watch(testContext(t), prefix, 1, func([]store.Event, int64) error { return errEnough }), errEnough)
}
