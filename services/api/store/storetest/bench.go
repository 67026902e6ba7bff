package storetest

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/store"
)

// Bench measures a store with values of about the size of a pod, by 32 callers at once where that matters.
func Bench(b *testing.B, open func(b *testing.B) store.Store) {
	value := bytes.Repeat([]byte("x"), 1_000)
	b.Run("Create", func(b *testing.B) { benchCreate(b, open(b), value) })
	b.Run("CreateWatched", func(b *testing.B) { benchCreateWatched(b, open(b), value) })
	b.Run("Update", func(b *testing.B) { benchUpdate(b, open(b), value) })
	s := open(b)
	for i := range 10_000 {
		_, err := s.Commit(context.Background(), store.Op{Key: fmt.Sprintf("/registry/l/%05d", i), Value: value})
		require.NoError(b, err)
	}
	b.Run("Revision", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, err := s.Revision(context.Background())
				require.NoError(b, err)
			}
		})
	})
	b.Run("Get", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Get(context.Background(), "/registry/l/05000")
			require.NoError(b, err)
		}
	})
	b.Run("List10000", func(b *testing.B) {
		for b.Loop() {
			kvs, _, err := s.List(context.Background(), "/registry/l/", store.ListOptions{})
			require.NoError(b, err)
			require.Len(b, kvs, 10_000)
		}
	})
}

func benchCreate(b *testing.B, s store.Store, value []byte) {
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := s.Commit(context.Background(), store.Op{Key: fmt.Sprintf("/registry/c/%d", n.Add(1)), Value: value})
			require.NoError(b, err)
		}
	})
}

func benchCreateWatched(b *testing.B, s store.Store, value []byte) {
	ctx, cancel := context.WithCancel(context.Background())
	var seen int
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, "/registry/", 1, func(events []store.Event, _ int64) error {
			if seen += len(events); seen >= b.N {
				return errEnough
			}
			return nil
		})
	}()
	benchCreate(b, s, value)
	require.ErrorIs(b, <-ended, errEnough)
	cancel()
}

func benchUpdate(b *testing.B, s store.Store, value []byte) {
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		key := fmt.Sprintf("/registry/u/%d", n.Add(1))
		revision := int64(0)
		for pb.Next() {
			var err error
			revision, err = s.Commit(context.Background(), store.Op{Key: key, Value: value, Expected: revision})
			require.NoError(b, err)
		}
	})
}
