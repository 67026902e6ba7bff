package watch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReads(t *testing.T) {
	w := newWorld(t, memstore.New(), Config{})
	first := w.put("a", "one", pod{Labels: map[string]string{"app": "x"}, Node: "n1"})
	w.put("b", "two", pod{Labels: map[string]string{"app": "y", "tier": "web"}, Node: "n1"})
	w.put("a", "three", pod{Labels: map[string]string{"app": "x"}})
	last := w.put("b", "four", pod{})
	require.Equal(t, last, w.sync())

	e, ok := w.pods.Get("a", "one")
	require.True(t, ok)
	require.Equal(t, first, e.Revision)
	require.JSONEq(t, `{"labels":{"app":"x"},"node":"n1"}`, string(e.Value))
	_, ok = w.pods.Get("b", "one")
	require.False(t, ok)

	for _, test := range []struct {
		namespace string
		predicate Predicate
		want      string
	}{
		{"", Predicate{}, "a/one a/three b/four b/two"},
		{"a", Predicate{}, "a/one a/three"},
		{"none", Predicate{}, ""},
		{"", byLabel(t, "app=x"), "a/one a/three"},
		{"b", byLabel(t, "app=x"), ""},
		{"", byLabel(t, "app in (x,y),tier!=web"), "a/one a/three"},
		{"", byLabel(t, "app in (y)"), "b/two"},
		{"", byLabel(t, "!app"), "b/four"},
		{"", byLabel(t, "app=nothing"), ""},
		{"", byField(t, "spec.nodeName=n1"), "a/one b/two"},
		{"", byField(t, "spec.nodeName="), "a/three b/four"},
		{"", byField(t, "spec.nodeName!="), "a/one b/two"},
		{"", byField(t, "metadata.name=two"), "b/two"},
		{"b", byField(t, "metadata.name=two"), "b/two"},
		{"a", byField(t, "metadata.name=two"), ""},
		{"", byField(t, "metadata.namespace=a,metadata.name=one"), "a/one"},
	} {
		page := w.pods.List(Query{Namespace: test.namespace, Predicate: test.predicate})
		require.Equal(t, test.want, names(page.Entries), "%s %v", test.namespace, test.predicate)
		require.Equal(t, last, page.Revision)
		require.Empty(t, page.Next)
		at, err := w.pods.ListAt(w.ctx, last, Query{Namespace: test.namespace, Predicate: test.predicate})
		require.NoError(t, err)
		require.Equal(t, test.want, names(at.Entries), "%s %v at", test.namespace, test.predicate)
	}
}

func TestPagesAreOfOneRevision(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprintf("kept=%t", kept), func(t *testing.T) { testPages(t, kept) })
	}
}

func testPages(t *testing.T, kept bool) {
	w := newWorld(t, memstore.New(), Config{})
	for i := range 10 {
		w.put("a", fmt.Sprint(i), pod{Labels: map[string]string{"even": fmt.Sprint(i%2 == 0)}})
	}
	w.sync()
	for _, predicate := range []Predicate{{}, byLabel(t, "even!=false")} {
		want := names(w.pods.List(Query{Predicate: predicate}).Entries)
		page := w.pods.List(Query{Predicate: predicate, Limit: 3})
		if predicate.Empty() {
			require.Equal(t, int64(7), page.Remaining)
		}
		got := page.Entries
		for page.Next != "" {
			w.put("a", "5x", pod{})
			w.delete("a", "8")
			w.sync()
			if !kept {
				w.pods.expire(time.Now().Add(time.Hour))
			}
			next, err := w.pods.ListAt(w.ctx, page.Revision, Query{Predicate: predicate, Limit: 3, After: page.Next})
			require.NoError(t, err)
			require.Equal(t, page.Revision, next.Revision)
			got, page = append(got, next.Entries...), next
		}
		require.Equal(t, want, names(got))
		w.put("a", "8", pod{Labels: map[string]string{"even": "true"}})
		w.delete("a", "5x")
		w.sync()
	}
	require.NoError(t, w.store.Compact(w.ctx, w.sync()))
	_, err := w.pods.ListAt(w.ctx, 2, Query{})
	require.ErrorIs(t, err, ErrExpired)
}

func TestFuture(t *testing.T) {
	w := newWorld(t, memstore.New(), Config{FutureWait: time.Millisecond})
	_, err := w.pods.ListAt(w.ctx, 1_000, Query{})
	require.ErrorIs(t, err, ErrFuture)
	_, err = w.pods.Watch(w.ctx, WatchOptions{Since: 1_000})
	require.ErrorIs(t, err, ErrFuture)
}

func TestUnreadableValueIsTold(t *testing.T) {
	w := newWorld(t, memstore.New(), Config{})
	_, err := w.store.Commit(w.ctx, store.Op{Key: key("a", "bad"), Value: []byte("scratched")})
	require.NoError(t, err)
	w.sync()
	e, ok := w.pods.Get("a", "bad")
	require.True(t, ok)
	require.ErrorContains(t, e.Err, "not sealed")
}

func TestWritesElsewhereDoNotHoldReadsUp(t *testing.T) {
	w := newWorld(t, memstore.New(), Config{})
	revision, err := w.store.Commit(w.ctx, store.Op{Key: "/elsewhere", Value: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, revision, w.sync())
	require.NoError(t, w.cache.WaitFor(w.ctx, revision))
	require.Equal(t, revision, w.pods.List(Query{}).Revision)
}

func TestAddWhileRunning(t *testing.T) {
	w := newWorld(t, memstore.New(), Config{})
	put := func(i int) {
		_, err := w.store.Commit(w.ctx, store.Op{Key: fmt.Sprintf("/registry/example.com/things/%d", i), Value: []byte("x")})
		require.NoError(t, err)
	}
	put(0)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := 1; i < 200; i++ {
			put(i)
		}
	}()
	things, err := w.cache.Add(w.ctx, Resource{Prefix: "/registry/example.com/things/"})
	require.NoError(t, err)
	require.GreaterOrEqual(t, things.Len(), 1)
	watcher, err := things.Watch(w.ctx, WatchOptions{SendInitial: true})
	require.NoError(t, err)
	again, err := w.cache.Add(w.ctx, Resource{Prefix: "/registry/example.com/things/"})
	require.NoError(t, err)
	require.Same(t, things, again)
	seen := map[string]bool{}
	for len(seen) < 200 {
		events, err := watcher.Next(w.ctx)
		require.NoError(t, err)
		for _, e := range events {
			require.Equal(t, Added, e.Type)
			require.False(t, seen[e.Entry.Name], "twice: %s", e.Entry.Name)
			seen[e.Entry.Name] = true
		}
	}
	<-written
	w.sync()
	require.Equal(t, 200, things.Len())
	w.cache.Remove("/registry/example.com/things/")
	_, err = watcher.Next(w.ctx)
	require.ErrorIs(t, err, ErrClosed)
	_, err = w.cache.Add(w.ctx, Resource{Prefix: "/registry/things/"})
	require.Error(t, err)
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, memstore.New(), Config{Metrics: registry})
	w.put("a", "one", pod{})
	w.watch(WatchOptions{Since: w.sync(), Namespace: "b"})
	families, err := registry.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, family := range families {
		m := family.GetMetric()[0]
		got[strings.TrimPrefix(family.GetName(), "karve_watch_cache_")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	require.Equal(t, map[string]float64{
		"revision": 2, "encoded_bytes": 0, "slow_watchers_total": 0, "entries": 1, "watchers": 1, "history_events": 1, "events_total": 1,
	}, got)
}

func TestEncodedOnceAndBounded(t *testing.T) {
	w := newWorld(t, memstore.New(), Config{MemoBytes: 10_000})
	for i := range 20 {
		w.put("a", fmt.Sprint(i), pod{})
	}
	w.sync()
	made := 0
	encode := func(*Entry) ([]byte, error) { made++; return make([]byte, 900), nil }
	e, _ := w.pods.Get("a", "0")
	for range 3 {
		data, err := e.Encoded("json", encode)
		require.NoError(t, err)
		require.Len(t, data, 900)
	}
	require.Equal(t, 1, made)
	_, err := e.Encoded("table", func(*Entry) ([]byte, error) { return nil, errors.New("not now") })
	require.Error(t, err)
	for _, e := range w.pods.List(Query{}).Entries {
		for _, form := range []Form{"json", "table"} {
			_, err := e.Encoded(form, encode)
			require.NoError(t, err)
		}
	}
	require.LessOrEqual(t, w.cache.memos.used, 10_000)
	require.NotEmpty(t, w.cache.memos.entries)
	for _, e := range w.pods.List(Query{}).Entries {
		w.cache.memos.forget(e)
	}
	require.Zero(t, w.cache.memos.used)
	require.Empty(t, w.cache.memos.entries)
}
