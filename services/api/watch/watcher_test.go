package watch

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/memstore"
)

func (w *world) watch(opts WatchOptions) *Watcher {
	w.t.Helper()
	watcher, err := w.pods.Watch(w.ctx, opts)
	require.NoError(w.t, err)
	w.t.Cleanup(watcher.Stop)
	return watcher
}

// next returns the next n events in short.
func (w *world) next(watcher *Watcher, n int) string {
	w.t.Helper()
	var out []string
	for len(out) < n {
		events, err := watcher.Next(w.ctx)
		require.NoError(w.t, err)
		for _, e := range events {
			out = append(out, short(e))
		}
	}
	return strings.Join(out, " ")
}

func short(e Event) string {
	switch {
	case e.InitialEnd:
		return "end"
	case e.Type == Bookmark:
		return "bookmark"
	}
	return string("?+~-"[e.Type]) + e.Entry.Name
}

func TestWatchSeesThroughItsPredicate(t *testing.T) {
	w := newWorld(t, memstore.New(), Config{})
	start := w.sync()
	x, y := map[string]string{"app": "x"}, map[string]string{"app": "y"}
	watchers := map[string]*Watcher{
		"+one ~one +two ~one ~one -one +one -two -one": w.watch(WatchOptions{Since: start}),
		"+one -one +one -one":                          w.watch(WatchOptions{Since: start, Predicate: byLabel(t, "app=x")}),
		"+one ~one ~one -one":                          w.watch(WatchOptions{Since: start, Predicate: byLabel(t, "app in (x,y)"), Namespace: "a"}),
		"+one -one":                                    w.watch(WatchOptions{Since: start, Predicate: byField(t, "spec.nodeName=n1")}),
		"+two -two":                                    w.watch(WatchOptions{Since: start, Namespace: "b"}),
		"+one ~one ~one ~one -one +one -one":           w.watch(WatchOptions{Since: start, Namespace: "a", Predicate: byField(t, "metadata.name=one")}),
	}
	w.put("a", "one", pod{})
	w.put("a", "one", pod{Labels: x})
	w.put("b", "two", pod{})
	w.put("a", "one", pod{Labels: y, Node: "n1"})
	changed := w.put("a", "one", pod{Labels: x, Node: "n2"})
	deleted := w.delete("a", "one")
	w.put("a", "one", pod{})
	w.delete("b", "two")
	w.delete("a", "one")
	for want, watcher := range watchers {
		require.Equal(t, want, w.next(watcher, strings.Count(want, " ")+1))
	}

	late := w.watch(WatchOptions{Since: changed - 1, Predicate: byField(t, "spec.nodeName=n1")})
	events, err := late.Next(w.ctx)
	require.NoError(t, err)
	require.Equal(t, changed, events[0].Revision)
	require.Equal(t, changed, events[0].Entry.Revision, "the state that matched, as of the change")
	require.Contains(t, string(events[0].Entry.Value), "n1")

	late = w.watch(WatchOptions{Since: changed})
	events, err = late.Next(w.ctx)
	require.NoError(t, err)
	require.Equal(t, Deleted, events[0].Type)
	require.Equal(t, deleted, events[0].Entry.Revision)
	require.Contains(t, string(events[0].Entry.Value), "n2", "the last state")
}

func TestInitialEvents(t *testing.T) {
	w := newWorld(t, memstore.New(), Config{})
	const n = batchSize + 10
	for i := range n {
		w.put("a", fmt.Sprintf("%04d", i), pod{Node: fmt.Sprint(i % 4)})
	}
	w.put("b", "b", pod{})
	w.sync()
	all := w.watch(WatchOptions{SendInitial: true, InitialEnd: true, Namespace: "a"})
	some := w.watch(WatchOptions{SendInitial: true, InitialEnd: true, Predicate: byField(t, "spec.nodeName=1")})
	none := w.watch(WatchOptions{SendInitial: true, InitialEnd: true, Predicate: byField(t, "spec.nodeName=9")})
	w.put("a", "0000", pod{Node: "1"})
	got := w.next(all, n+2)
	require.True(t, strings.HasPrefix(got, "+0000 +0001 "), got)
	require.True(t, strings.HasSuffix(got, " end ~0000"), got)
	got = w.next(some, (n+2)/4+2)
	require.True(t, strings.HasPrefix(got, "+0001 +0005 "), got)
	require.True(t, strings.HasSuffix(got, " end +0000"), got)
	require.Equal(t, "end", w.next(none, 1))
}

func TestBookmarks(t *testing.T) {
	w := newWorld(t, memstore.New(), Config{BookmarkEvery: 5 * time.Millisecond})
	quiet := w.watch(WatchOptions{Since: w.sync(), Namespace: "quiet", Bookmarks: true})
	revision := w.put("loud", "one", pod{})
	w.sync()
	for reached := int64(0); reached < revision; {
		events, err := quiet.Next(w.ctx)
		require.NoError(t, err)
		require.Equal(t, Bookmark, events[0].Type)
		require.GreaterOrEqual(t, events[0].Revision, reached)
		reached = events[0].Revision
	}
	w.put("quiet", "two", pod{})
	for got := ""; got != "+two"; {
		got = w.next(quiet, 1)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	for name, cfg := range map[string]Config{"events": {HistoryEvents: 100}, "bytes": {HistoryBytes: 100 * changeOverhead}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, memstore.New(), cfg)
			start := w.sync()
			slow := w.watch(WatchOptions{Since: start})
			quiet := w.watch(WatchOptions{Since: start, Namespace: "quiet"})
			first := w.put("a", "0", pod{})
			require.Equal(t, "+0", w.next(slow, 1))
			w.watch(WatchOptions{Since: first - 1})
			for i := range 150 {
				w.put("a", fmt.Sprint(i), pod{})
			}
			last := w.sync()
			_, err := slow.Next(w.ctx)
			require.ErrorIs(t, err, ErrSlow)
			_, err = slow.Next(w.ctx)
			require.ErrorIs(t, err, ErrSlow)
			_, err = w.pods.Watch(w.ctx, WatchOptions{Since: first})
			require.ErrorIs(t, err, ErrExpired)
			late := w.watch(WatchOptions{Since: last - 50})
			require.Equal(t, 50, strings.Count(w.next(late, 50), "+"))
			w.put("quiet", "one", pod{})
			require.Equal(t, "+one", w.next(quiet, 1), "a watcher that nothing concerned is not slow")
		})
	}
}

func TestWatchGoesOnAfterARestart(t *testing.T) {
	st := memstore.New()
	w := newWorld(t, st, Config{})
	w.put("a", "zero", pod{})
	seen := w.put("a", "one", pod{})
	w.delete("a", "zero")
	w.put("a", "two", pod{})
	w.stop()
	w = newWorld(t, st, Config{})
	require.Equal(t, "-zero +two", w.next(w.watch(WatchOptions{Since: seen}), 2))

	require.NoError(t, st.Compact(w.ctx, w.sync()))
	w.stop()
	w = newWorld(t, st, Config{})
	require.Equal(t, 2, w.pods.Len())
	_, err := w.pods.Watch(w.ctx, WatchOptions{Since: seen})
	require.ErrorIs(t, err, ErrExpired)
}

// TestEveryWatcherSeesTheSame: amid many writers, watchers that begin at any time and stop and resume anywhere end up
// with the store's state, and are told nothing twice.
func TestEveryWatcherSeesTheSame(t *testing.T) {
	t.Run("memory", func(t *testing.T) { testEveryWatcher(t, memstore.New()) })
	t.Run("etcd", func(t *testing.T) { testEveryWatcher(t, openEtcd(t)) })
}

func testEveryWatcher(t *testing.T, st store.Store) {
	const writers, writes, copies = 4, 300, 3
	w := newWorld(t, st, Config{})
	views := []struct {
		opts WatchOptions
		last string // what a watcher is told last
	}{
		{WatchOptions{}, key("b", "end")},
		{WatchOptions{Namespace: "a"}, key("a", "end")},
		{WatchOptions{Predicate: byField(t, "spec.nodeName=1")}, key("a", "end")},
		{WatchOptions{Namespace: "b", Predicate: byLabel(t, "app=1")}, key("b", "end")},
	}
	var writing, watching sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range writes {
				randomWrite(w)
			}
		})
	}
	replicas := make([]*replica, copies*len(views))
	for i := range replicas {
		view := views[i%len(views)]
		replicas[i] = &replica{w: w, opts: view.opts}
		watching.Go(func() { replicas[i].follow(view.last) })
	}
	writing.Wait()
	w.put("a", "end", pod{Node: "1"})
	w.put("b", "end", pod{Labels: map[string]string{"app": "1"}})
	w.sync()
	watching.Wait()
	for i, replica := range replicas {
		opts := views[i%len(views)].opts
		want := map[string]int64{}
		for _, e := range w.pods.List(Query{Namespace: opts.Namespace, Predicate: opts.Predicate}).Entries {
			want[e.Key] = e.Revision
		}
		require.Equal(t, want, replica.state, "%+v", opts)
	}
}

func randomWrite(w *world) {
	op := store.Op{Key: key(string("ab"[rand.IntN(2)]), fmt.Sprint(rand.IntN(20))), Expected: -1}
	if rand.IntN(4) > 0 {
		op.Value = pod{Node: fmt.Sprint(rand.IntN(3)), Labels: map[string]string{"app": fmt.Sprint(rand.IntN(3))}}.seal()
	}
	if _, err := w.store.Commit(w.ctx, op); err != nil {
		w.t.Errorf("commit: %v", err)
	}
}

// replica is a copy of what a watch shows.
type replica struct {
	w     *world
	opts  WatchOptions
	state map[string]int64
}

// follow keeps the copy, breaking off and resuming now and then, until the key has come.
func (r *replica) follow(last string) {
	for r.state[last] == 0 {
		opts := r.opts
		if opts.Since == 0 {
			opts.SendInitial, opts.InitialEnd, r.state = true, true, map[string]int64{}
		}
		watcher, err := r.w.pods.Watch(r.w.ctx, opts)
		if err != nil {
			r.w.t.Errorf("watch: %v", err)
			return
		}
		for n := rand.IntN(20) + 1; n > 0 && r.state[last] == 0; n-- {
			events, err := watcher.Next(r.w.ctx)
			if err != nil {
				r.w.t.Errorf("next: %v", err)
				return
			}
			for _, e := range events {
				r.apply(e)
			}
		}
		watcher.Stop()
	}
}

func (r *replica) apply(e Event) {
	if r.opts.Since > 0 && e.Revision <= r.opts.Since {
		r.w.t.Errorf("%s at %d after %d", short(e), e.Revision, r.opts.Since)
	}
	if e.InitialEnd {
		r.opts.Since = e.Revision
		return
	}
	if _, had := r.state[e.Entry.Key]; had != (e.Type != Added) {
		r.w.t.Errorf("%s at %d, but there before: %t", short(e), e.Revision, had)
	}
	if r.state[e.Entry.Key] = e.Entry.Revision; e.Type == Deleted {
		delete(r.state, e.Entry.Key)
	}
	if r.opts.Since > 0 {
		r.opts.Since = e.Revision
	}
}
