package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// WatchOptions say what to watch.
type WatchOptions struct {
	// Namespace narrows to one; empty: all.
	Namespace string
	Predicate Predicate
	// Since is the revision after which changes are told. Without SendInitial it must be positive.
	Since int64
	// SendInitial begins with Added events for what is there (at least as new as Since), in the order of keys.
	SendInitial bool
	// InitialEnd adds a Bookmark with InitialEnd after the initial events.
	InitialEnd bool
	// Bookmarks asks for a Bookmark about every Config.BookmarkEvery.
	Bookmarks bool
	// Notify, when set, is called when Poll may have something, instead of Next's waking up. It is called with locks held:
	// it must be quick and must not call the watcher.
	Notify func()
}

// batchSize is how many events Next returns at most.
const batchSize = 256

// Watcher is one watch. It is for one goroutine, but for Stop.
type Watcher struct {
	c    *Collection
	opts WatchOptions
	term term
	wake chan struct{}

	// Guarded by c.mu: the feeder holds it for writing, Next for reading, and nobody else changes these but Stop.
	slot int    // place on the shelf + 1; 0: not filed
	next uint64 // the change to look at next, unless idle
	idle bool   // nothing up to the end of the history is left to look at
	err  error

	initial *initial
	events  []Event
	// behind is set when there is more to look at than was taken last.
	behind bool
	// bookmarks fires when the next bookmark is due; nil when none are wanted.
	bookmarks *time.Timer
	due       atomic.Bool
}

// Watch begins to watch. It fails with ErrExpired when history does not reach back to Since, with ErrFuture when Since
// does not come within Config.FutureWait. A watcher costs no goroutine and no buffer: its place in the shared history
// is all it holds. Stop it.
func (c *Collection) Watch(ctx context.Context, opts WatchOptions) (*Watcher, error) {
	if err := c.cache.WaitFor(ctx, opts.Since); err != nil {
		return nil, err
	}
	opts.Predicate = opts.Predicate.simplify()
	w := &Watcher{c: c, opts: opts, wake: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == closed {
		return nil, ErrClosed
	}
	w.term = c.termOf(opts)
	if opts.SendInitial {
		w.initial, w.next = c.initial(opts), c.history.next
	} else {
		if opts.Since < c.history.floor {
			return nil, ErrExpired
		}
		w.next = c.history.after(opts.Since)
		w.idle = w.next == c.history.next
	}
	c.shelves.add(w)
	if opts.Bookmarks {
		w.bookmarks = time.AfterFunc(w.bookmarkDelay(), func() {
			w.due.Store(true)
			w.signal()
		})
	}
	return w, nil
}

// termOf returns the term to file a watcher under.
func (c *Collection) termOf(opts WatchOptions) term {
	if opts.Predicate.Fields != nil && (opts.Namespace != "" || !c.resource.Namespaced) {
		if name, ok := opts.Predicate.Fields.RequiresExactMatch(fieldName); ok {
			return term{kind: termObject, value: c.Key(opts.Namespace, name)}
		}
	}
	best, entries := term{}, 0
	for _, t := range c.index.demands(opts.Predicate) {
		n := 0
		if found := c.index.byTerm[t]; found != nil {
			n = found.Len()
		}
		if best.kind == termAll || n < entries {
			best, entries = t, n
		}
	}
	if best.kind == termAll && opts.Namespace != "" {
		return term{kind: termNamespace, value: opts.Namespace}
	}
	return best
}

// Next waits for events and returns them in order: at least one, at most a few hundred. The slice is the caller's until
// the next call. It fails with ErrSlow, ErrClosed, ErrExpired (the cache lost its place in the store's history) or
// ctx's error; the watch is over then.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) {
	for {
		events, _, err := w.Poll()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			w.stop(ctx.Err())
			return nil, ctx.Err()
		}
	}
}

// Poll is Next for who does not wait: without events there are none now, and Notify will be called when there may be.
// Behind tells that there may be more already. Its errors are those of Next.
func (w *Watcher) Poll() (events []Event, behind bool, err error) {
	for {
		events, caughtUp, err := w.take()
		if err != nil {
			if w.stop(err) && errors.Is(err, ErrSlow) {
				w.c.cache.stats.cut.Add(1)
			}
			return nil, false, err
		}
		if len(events) > 0 || caughtUp {
			return events, w.behind, nil
		}
	}
}

// Stop ends the watch; a Next under way returns ErrClosed. More than once is harmless.
func (w *Watcher) Stop() { w.stop(ErrClosed) }

// stop ends the watch and reports whether it had not ended before.
func (w *Watcher) stop(err error) bool {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	first := w.err == nil
	w.c.shelves.remove(w)
	w.end(err)
	return first
}

// end is the last thing that happens to a watcher. c.mu is held.
func (w *Watcher) end(err error) {
	if w.err == nil {
		w.err = err
	}
	if w.bookmarks != nil {
		w.bookmarks.Stop()
	}
	w.signal()
}

// signal makes Next look again.
func (w *Watcher) signal() {
	if w.opts.Notify != nil {
		w.opts.Notify()
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns the events that are there. Without any it tells whether the watcher has caught up with the history.
func (w *Watcher) take() (events []Event, caughtUp bool, err error) {
	if w.initial != nil {
		return w.takeInitial()
	}
	found := batches.Get().(*batch)
	defer found.release()
	revision, caughtUp, err := w.look(found)
	if err != nil {
		return nil, false, err
	}
	events = w.events[:0]
	for _, ch := range found.changes {
		if e := w.seen(ch); e.Type != 0 {
			events = append(events, e)
		}
	}
	if caughtUp && len(events) == 0 && w.due.Load() {
		w.due.Store(false)
		w.bookmarks.Reset(w.bookmarkDelay())
		events = append(events, Event{Type: Bookmark, Revision: revision})
	}
	w.keep(events)
	return events, caughtUp, nil
}

// keep keeps the slice for the next call, but a watcher that rests does not sit on a large one.
func (w *Watcher) keep(events []Event) {
	const small = 4
	if len(events) == 0 && cap(w.events) > small {
		w.events = nil
		return
	}
	w.events = events
}

// look finds the changes to look at next, unfiltered, and as of which revision there are none after them.
func (w *Watcher) look(found *batch) (revision int64, caughtUp bool, err error) {
	w.c.mu.RLock()
	defer w.c.mu.RUnlock()
	if w.err != nil {
		return 0, false, w.err
	}
	h := &w.c.history
	if w.idle {
		w.next = h.next
	}
	if w.next < h.first {
		return 0, false, ErrSlow
	}
	for w.next < h.next && len(found.changes) < batchSize {
		found.changes = append(found.changes, h.at(w.next))
		w.next++
	}
	w.idle = w.next == h.next
	w.behind = !w.idle
	return w.c.revision(), len(found.changes) == 0, nil
}

func (w *Watcher) bookmarkDelay() time.Duration {
	every := w.c.cache.cfg.BookmarkEvery
	return every - every/10 + rand.N(every/5+1) // so that watchers that began together do not stay together
}
