package watch

import (
	"context"
	"errors"
	"slices"
	"time"

	"karve.dev/karve/services/api/store"
)

// Query says what to list.
type Query struct {
	// Namespace narrows to one; empty: all.
	Namespace string
	Predicate Predicate
	// Limit is the most entries to return; 0: all.
	Limit int
	// After is the key that the page before ended with; "" to begin.
	After string
}

// Page is the answer to a Query. Entries are shared: they must not be changed.
type Page struct {
	Entries []*Entry
	// Revision is what the page is as of; the next page is ListAt(Revision, After: Next).
	Revision int64
	// Next is Query.After of the next page; "" when this is the last.
	Next string
	// Remaining counts what follows, when the predicate is empty (Kubernetes' remainingItemCount); else -1.
	Remaining int64
}

const (
	// pagesKept and pagesAge bound the snapshots that are kept for the following pages of lists.
	pagesKept = 8
	pagesAge  = time.Minute
)

// List returns what the query asks for as of now, in the order of keys. It uses an index when the predicate allows.
func (c *Collection) List(q Query) Page {
	q.Predicate = q.Predicate.simplify()
	if page, ok := c.listIndexed(q); ok {
		return page
	}
	snap, revision := c.snapshot()
	page := c.listTree(snap.tree, q)
	page.Revision = revision
	if page.Next != "" {
		c.keepForPages(snap, revision)
	}
	return page
}

// ListAt is List as of exactly the revision: from memory where that is the same, else from the store. It fails with
// ErrExpired when the store has forgotten the revision, and with ErrFuture when it does not have it yet.
func (c *Collection) ListAt(ctx context.Context, revision int64, q Query) (Page, error) {
	if err := c.cache.WaitFor(ctx, revision); err != nil {
		return Page{}, err
	}
	q.Predicate = q.Predicate.simplify()
	snap := c.snapshotAt(revision)
	if snap == nil {
		return c.listStore(ctx, revision, q)
	}
	page := c.listTree(snap.tree, q)
	page.Revision = revision
	if page.Next != "" {
		c.keepForPages(snap, revision)
	}
	return page, nil
}

// listIndexed answers a query whose predicate demands something that is indexed and not true of most entries.
func (c *Collection) listIndexed(q Query) (Page, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if q.Predicate.Fields != nil {
		if page, ok := c.listNamed(q); ok {
			return page, true
		}
	}
	entries, ok := c.index.narrowest(q.Predicate)
	if !ok || (entries != nil && entries.Len() > c.tree.Len()/2) {
		return Page{}, false
	}
	page := Page{Revision: c.revision(), Remaining: -1}
	if entries != nil {
		page = c.listTree(entries, q)
		page.Revision = c.revision()
	}
	return page, true
}

// listNamed answers a query for one name.
func (c *Collection) listNamed(q Query) (Page, bool) {
	name, ok := q.Predicate.Fields.RequiresExactMatch(fieldName)
	if !ok {
		return Page{}, false
	}
	namespace := q.Namespace
	if other, ok := q.Predicate.Fields.RequiresExactMatch(fieldNamespace); ok && namespace == "" {
		namespace = other
	}
	if c.resource.Namespaced && namespace == "" {
		return Page{}, false
	}
	page := Page{Revision: c.revision(), Remaining: -1}
	key := c.Key(namespace, name)
	if e, ok := c.tree.Get(&Entry{Key: key}); ok && key > q.After && q.Predicate.Matches(e) {
		page.Entries = []*Entry{e}
	}
	return page, true
}

// revision is what the state is as of: everything that the cache has seen, and maybe already the beginning of what it is
// taking in. c.mu is held, for reading at least.
func (c *Collection) revision() int64 { return max(c.changed, c.cache.gate.revision.Load()) }

// snapshot returns the state as it is, and as of which revision.
func (c *Collection) snapshot() (*snapshot, int64) {
	c.mu.RLock()
	if snap := c.snap; snap != nil {
		defer c.mu.RUnlock()
		return snap, c.revision()
	}
	c.mu.RUnlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takeSnapshot(), c.revision()
}

// takeSnapshot returns the state as it is. c.mu is held.
func (c *Collection) takeSnapshot() *snapshot {
	if c.snap == nil {
		c.snap = &snapshot{tree: c.tree.Clone(), changed: c.changed, taken: time.Now()}
	}
	return c.snap
}

// keepForPages keeps a snapshot for the pages that follow one taken from it as of a revision.
func (c *Collection) keepForPages(snap *snapshot, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	snap.last = max(snap.last, revision)
	if slices.Contains(c.pages, snap) {
		return
	}
	if len(c.pages) == pagesKept {
		c.pages = slices.Delete(c.pages, 0, 1)
	}
	c.pages = append(c.pages, snap)
}

// snapshotAt returns a snapshot that is right for the revision, or nil.
func (c *Collection) snapshotAt(revision int64) *snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed <= revision && revision <= c.revision() {
		return c.takeSnapshot()
	}
	for _, snap := range c.pages {
		if snap.changed <= revision && revision <= snap.last {
			return snap
		}
	}
	return nil
}

// listTree takes a page from a tree that nobody changes meanwhile.
func (c *Collection) listTree(t *tree, q Query) Page {
	page := Page{Remaining: -1}
	if q.Predicate.Empty() {
		page.Remaining = 0
	}
	switch {
	case q.Limit > 0:
		page.Entries = make([]*Entry, 0, min(q.Limit, t.Len()))
	case q.Namespace == "" && q.Predicate.Empty():
		page.Entries = make([]*Entry, 0, t.Len())
	}
	from, to := c.bounds(q)
	t.AscendRange(from, to, func(e *Entry) bool {
		full := q.Limit > 0 && len(page.Entries) == q.Limit
		switch {
		case full && page.Remaining >= 0:
			page.Next = page.Entries[q.Limit-1].Key
			page.Remaining++
		case !q.Predicate.Matches(e):
		case full:
			page.Next = page.Entries[q.Limit-1].Key
			return false
		default:
			page.Entries = append(page.Entries, e)
		}
		return true
	})
	return page
}

// someOf returns up to q.Limit entries of a tree, and does not look for what comes after them.
func (c *Collection) someOf(t *tree, q Query) (out []*Entry) {
	from, to := c.bounds(q)
	t.AscendRange(from, to, func(e *Entry) bool {
		if q.Predicate.Matches(e) {
			out = append(out, e)
		}
		return len(out) < q.Limit
	})
	return out
}

// bounds returns where the keys of a query begin, and the first key after them.
func (c *Collection) bounds(q Query) (from, to *Entry) {
	prefix := c.prefix(q.Namespace)
	start := prefix
	if q.After != "" {
		start = max(start, q.After+"\x00")
	}
	return &Entry{Key: start}, &Entry{Key: prefixEnd(prefix)}
}

// prefix returns what the keys of a namespace begin with.
func (c *Collection) prefix(namespace string) string {
	if namespace == "" || !c.resource.Namespaced {
		return c.resource.Prefix
	}
	return c.resource.Prefix + namespace + "/"
}

// prefixEnd returns the first key after all with the prefix, which ends in "/".
func prefixEnd(prefix string) string { return prefix[:len(prefix)-1] + "0" }

// storePage is how many keys a list from the store reads at once, where it cannot know how many will match.
const storePage = 500

// listStore takes a page from the store's history.
func (c *Collection) listStore(ctx context.Context, revision int64, q Query) (Page, error) {
	page := Page{Revision: revision, Remaining: -1}
	opts := store.ListOptions{Revision: revision, After: q.After, Limit: storePage}
	if q.Predicate.Empty() && q.Limit > 0 {
		opts.Limit = q.Limit + 1
	}
	for {
		kvs, _, err := c.cache.cfg.Store.List(ctx, c.prefix(q.Namespace), opts)
		switch {
		case errors.Is(err, store.ErrCompacted):
			return Page{}, ErrExpired
		case err != nil:
			return Page{}, err
		}
		for _, kv := range kvs {
			e := c.open(kv, nil)
			e.pool = nil // nobody will ask for it again
			if !q.Predicate.Matches(e) {
				continue
			}
			if q.Limit > 0 && len(page.Entries) == q.Limit {
				page.Next = page.Entries[q.Limit-1].Key
				return page, nil
			}
			page.Entries = append(page.Entries, e)
		}
		if len(kvs) < opts.Limit {
			return page, nil
		}
		opts.After = kvs[len(kvs)-1].Key
	}
}
