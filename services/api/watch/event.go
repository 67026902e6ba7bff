package watch

// EventType says what happened to an object as its watcher sees it.
type EventType uint8

// The types of events.
const (
	// Added: the object is new, or began to match the predicate.
	Added EventType = iota + 1
	// Modified: the object matched before and matches now.
	Modified
	// Deleted: the object is gone, or stopped to match. The entry is the last state that matched, with the revision of the
	// change.
	Deleted
	// Bookmark: nothing happened up to Revision that the watcher does not know. No entry.
	Bookmark
)

// Event is one thing that a watcher is told.
type Event struct {
	Type EventType
	// InitialEnd marks the bookmark that ends the initial events.
	InitialEnd bool
	Entry      *Entry
	// Revision is where a watch resumes after this event.
	Revision int64
}

// concerns reports whether the watcher is told anything about a change.
func (w *Watcher) concerns(ch *change) bool { return w.seen(ch).Type != 0 }

// seen returns a change as this watcher sees it; type 0: not at all.
func (w *Watcher) seen(ch *change) Event {
	if w.opts.Namespace != "" && ch.entry.Namespace != w.opts.Namespace {
		return Event{}
	}
	is := !ch.deleted && w.opts.Predicate.Matches(ch.entry)
	was := ch.prev != nil && w.opts.Predicate.Matches(ch.prev)
	revision := ch.entry.Revision
	switch {
	case is && was:
		return Event{Type: Modified, Entry: ch.entry, Revision: revision}
	case is:
		return Event{Type: Added, Entry: ch.entry, Revision: revision}
	case was:
		return Event{Type: Deleted, Entry: ch.leaving(), Revision: revision}
	}
	return Event{}
}
