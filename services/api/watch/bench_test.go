package watch

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/fields"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/memstore"
)

var filler = strings.Repeat("x", 900)

func fill(w *world, n int) {
	ops := []store.Op{}
	for i := range n {
		p := pod{Labels: map[string]string{"app": fmt.Sprint(i % 100), "all": "yes", "unique": fmt.Sprint(i)}, Node: fmt.Sprint(i % 100), Filler: filler}
		ops = append(ops, store.Op{Key: key("bench", fmt.Sprintf("pod-%05d", i)), Value: p.seal(), Expected: -1})
		if len(ops) == store.MaxOps || i == n-1 {
			_, err := w.store.Commit(w.ctx, ops...)
			require.NoError(w.t, err)
			ops = ops[:0]
		}
	}
	w.sync()
}

func BenchmarkRead(b *testing.B) {
	w := newWorld(b, memstore.New(), Config{})
	fill(w, 10_000)
	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := w.cache.Sync(w.ctx)
			require.NoError(b, err)
			_, ok := w.pods.Get("bench", "pod-05000")
			require.True(b, ok)
		}
	})
	for _, bench := range []struct {
		name string
		q    Query
		want int
	}{
		{"All", Query{}, 10_000},
		{"Namespace", Query{Namespace: "bench"}, 10_000},
		{"Page500", Query{Limit: 500}, 500},
		{"Label", Query{Predicate: byLabel(b, "app=7,all=yes")}, 100},
		{"LabelUnindexed", Query{Predicate: byLabel(b, "app notin (1,2,3),all")}, 9_700},
		{"Field", Query{Predicate: byField(b, "spec.nodeName=7")}, 100},
		{"Name", Query{Namespace: "bench", Predicate: byField(b, "metadata.name=pod-00007")}, 1},
	} {
		b.Run("List"+bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.Len(b, w.pods.List(bench.q).Entries, bench.want)
			}
		})
	}
}

// BenchmarkApply is what one update costs the cache when nobody watches: reading the value, the tree, the indexes.
func BenchmarkApply(b *testing.B) {
	w := newWorld(b, memstore.New(), Config{})
	fill(w, 10_000)
	w.stop()
	value := pod{Labels: map[string]string{"app": "1", "all": "yes", "unique": "1"}, Node: "1", Filler: filler}.seal()
	revision := w.cache.Revision()
	w.pods.state = ready
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		revision++
		w.pods.apply([]store.Event{{KV: store.KV{Key: key("bench", fmt.Sprintf("pod-%05d", i%10_000)), Value: value, Revision: revision}}})
	}
}

// BenchmarkFanOut sends every update to 200 watchers, flat out: ns/op is per update, events/s over all watchers.
func BenchmarkFanOut(b *testing.B) {
	const watchers = 200
	w := newWorld(b, memstore.New(), Config{})
	fill(w, 100)
	var delivered atomic.Int64
	var reading sync.WaitGroup
	start := w.sync()
	for range watchers {
		watcher := w.watch(WatchOptions{Since: start, Namespace: "bench"})
		reading.Go(func() {
			for n := 0; n < b.N; {
				events, err := watcher.Next(w.ctx)
				if err != nil {
					b.Errorf("after %d: %v", n, err)
					return
				}
				for _, e := range events {
					_, _ = e.Entry.Encoded("json", func(e *Entry) ([]byte, error) { return append([]byte("{}"), e.Value...), nil })
				}
				n += len(events)
				delivered.Add(int64(len(events)))
			}
		})
	}
	value := pod{Filler: filler}.seal()
	b.ResetTimer()
	for i := range b.N {
		_, err := w.store.Commit(w.ctx, store.Op{Key: key("bench", fmt.Sprintf("pod-%05d", i%100)), Value: value, Expected: -1})
		require.NoError(b, err)
		for int64(i)*watchers-delivered.Load() > 1_000*watchers {
			runtime.Gosched()
		}
	}
	reading.Wait()
	b.StopTimer()
	b.ReportMetric(float64(delivered.Load())/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkFanOutToOne updates pods of 10,000 nodes that each watch their own.
func BenchmarkFanOutToOne(b *testing.B) {
	const nodes = 10_000
	w := newWorld(b, memstore.New(), Config{})
	fill(w, 100)
	start := w.sync()
	watchers := make([]*Watcher, nodes)
	for i := range watchers {
		watchers[i] = w.watch(WatchOptions{Since: start, Predicate: Predicate{Fields: fields.OneTermEqualSelector("spec.nodeName", fmt.Sprint(i))}})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		node := i % nodes
		value := pod{Node: fmt.Sprint(node), Filler: filler}.seal()
		_, err := w.store.Commit(w.ctx, store.Op{Key: key("bench", fmt.Sprintf("new-%05d", node)), Value: value, Expected: -1})
		require.NoError(b, err)
		_, err = watchers[node].Next(w.ctx)
		require.NoError(b, err)
	}
}

// BenchmarkLatency is from the commit of an update to the last of 200 idle watchers having it.
func BenchmarkLatency(b *testing.B) {
	const watchers = 200
	w := newWorld(b, memstore.New(), Config{})
	fill(w, 100)
	start := w.sync()
	ctx, cancel := context.WithCancel(w.ctx)
	got := make(chan struct{}, watchers)
	var reading sync.WaitGroup
	for range watchers {
		watcher := w.watch(WatchOptions{Since: start})
		reading.Go(func() {
			for {
				if _, err := watcher.Next(ctx); err != nil {
					return
				}
				got <- struct{}{}
			}
		})
	}
	b.ResetTimer()
	for range b.N {
		w.put("bench", "pod-00001", pod{Filler: filler})
		for range watchers {
			<-got
		}
	}
	b.StopTimer()
	cancel()
	reading.Wait()
}

// BenchmarkReadYourWrite is a write to etcd and a consistent read of it through the cache, by 32 callers.
func BenchmarkReadYourWrite(b *testing.B) {
	w := newWorld(b, openEtcd(b), Config{})
	value := pod{Labels: map[string]string{"app": "1"}, Filler: filler}.seal()
	var n atomic.Int64
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			name := fmt.Sprint(n.Add(1))
			revision, err := w.store.Commit(w.ctx, store.Op{Key: key("bench", name), Value: value})
			require.NoError(b, err)
			_, err = w.cache.Sync(w.ctx)
			require.NoError(b, err)
			e, ok := w.pods.Get("bench", name)
			require.True(b, ok)
			require.Equal(b, revision, e.Revision)
		}
	})
}

// BenchmarkIdleWatch reports the bytes that an idle watcher holds in the cache, its goroutine in Next included.
func BenchmarkIdleWatch(b *testing.B) {
	w := newWorld(b, memstore.New(), Config{})
	fill(w, 100)
	start := w.sync()
	ctx, cancel := context.WithCancel(w.ctx)
	const watchers = 10_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var waiting sync.WaitGroup
	all := make([]*Watcher, watchers)
	for i := range watchers {
		all[i] = w.watch(WatchOptions{Since: start, Bookmarks: true, Namespace: "none"})
		waiting.Go(func() { _, _ = all[i].Next(ctx) })
	}
	time.Sleep(100 * time.Millisecond)
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc+after.StackInuse-before.StackInuse)/watchers, "bytes/watch")
	cancel()
	waiting.Wait()
}

// BenchmarkMemory reports the bytes that the cache holds per pod of about 1 KB.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	st := memstore.New()
	seed := newWorld(b, st, Config{})
	fill(seed, 10_000)
	seed.stop()
	seed.cache, seed.pods = nil, nil
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := newWorld(b, st, Config{})
	w.sync()
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/10_000, "bytes/pod")
	runtime.KeepAlive(w)
}
