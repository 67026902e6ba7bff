package watch

import "context"

// EventType says what happened to an object as its watcher sees it.
type EventType uint8

// The types of events.
const (
	// Added: the object is new, or began to match the predicate.
	Added EventType = iota + 1
	// Modified: the object matched before and matches now.
	Modified
	// Deleted: the object is gone, or stopped to match. The entry is the last state that matched, with the revision of the change.
	Deleted
	// Bookmark: nothing happened up to Revision that the watcher does not know. No entry.
	Bookmark
)

// Event is one thing that a watcher is told.
type Event struct {
	Type  EventType
	Entry *Entry
	// Revision is where a watch resumes after this event.
	Revision int64
	// InitialEnd marks the bookmark that ends the initial events.
	InitialEnd bool
}

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
}

// Watch begins to watch. It fails with ErrExpired when history does not reach back to Since, with ErrFuture when Since does not come
// within Config.FutureWait. A watcher costs no goroutine and no buffer: its place in the shared history is all
// it holds. Stop it.
func (c *Collection) Watch(ctx context.Context, opts WatchOptions) (*Watcher, error) { return nil, nil }

// Watcher is one watch. It is for one goroutine, but for Stop.
type Watcher struct{}

// Next waits for events and returns them in order: at least one, at most a few hundred. The slice is the caller's until the next call. It fails with
// ErrSlow, ErrClosed, ErrExpired (the cache lost its place in the store's history) or ctx's error; the watch is over then.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) { return nil, nil }

// Stop ends the watch; a Next under way returns ErrClosed. More than once is harmless.
func (w *Watcher) Stop() {}
