package watch

// initial is what is left of the initial events.
type initial struct {
	entries  []*Entry // found through an index
	tree     *tree    // or a snapshot, which is read bit by bit after the key
	after    string
	revision int64
}

// initial prepares the initial events. c.mu is held.
func (c *Collection) initial(opts WatchOptions) *initial {
	out := &initial{revision: c.revision()}
	entries, ok := c.index.narrowest(opts.Predicate)
	switch {
	case !ok:
		out.tree = c.takeSnapshot().tree
	case entries != nil:
		out.entries = c.listTree(entries, Query{Namespace: opts.Namespace, Predicate: opts.Predicate}).Entries
	}
	return out
}

func (w *Watcher) takeInitial() ([]Event, bool, error) {
	in := w.initial
	w.c.mu.RLock()
	err := w.err
	w.c.mu.RUnlock()
	if err != nil {
		return nil, false, err
	}
	w.behind = true
	events := w.events[:0]
	for _, e := range w.c.nextInitial(in, w.opts) {
		events = append(events, Event{Type: Added, Entry: e, Revision: e.Revision})
	}
	if len(events) < batchSize {
		w.initial = nil
		if w.opts.InitialEnd {
			events = append(events, Event{Type: Bookmark, InitialEnd: true, Revision: in.revision})
		}
	}
	w.keep(events)
	return events, false, nil
}

// nextInitial returns the next entries, fewer than batchSize when they are the last.
func (c *Collection) nextInitial(in *initial, opts WatchOptions) (out []*Entry) {
	if in.tree == nil {
		n := min(batchSize, len(in.entries))
		out, in.entries = in.entries[:n], in.entries[n:]
		return out
	}
	q := Query{Namespace: opts.Namespace, Predicate: opts.Predicate, Limit: batchSize, After: in.after}
	out = c.someOf(in.tree, q)
	if len(out) > 0 {
		in.after = out[len(out)-1].Key
	}
	return out
}
