package watch

import (
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"karve.dev/karve/services/api/store"
)

// Resource is all that the cache knows of a resource.
type Resource struct {
	// Prefix is Config.Prefix + group + "/" + plural + "/", as in "/registry/core/pods/".
	Prefix string
	// Namespaced: what follows the prefix is "namespace/name", else "name".
	Namespaced bool
	// Open turns stored bytes into what Entry.Value holds (it decrypts, say); nil: they are the same.
	Open func(key string, stored []byte) ([]byte, error)
	// Attributes reads what selectors ask for from an opened value; metadata.name and metadata.namespace are known from
	// the key and need not be in Fields. It is called once for every version of an object, so it should not decode
	// more than it must. The maps are not kept. Nil: no labels, no fields.
	Attributes func(value []byte) (Attributes, error)
	// IndexedFields are the fields by which lists and watches are indexed, as in "spec.nodeName". Labels all are.
	IndexedFields []string
}

// Attributes are what selectors ask of an object.
type Attributes struct {
	Labels map[string]string
	Fields map[string]string
}

// Collection is one resource's snapshot and history. All methods are safe for concurrent use.
type Collection struct {
	cache    *Cache
	resource Resource

	mu    sync.RWMutex
	state state
	// waiting are the events that came while the collection was being loaded.
	waiting []store.Event
	tree    *tree
	index   *index
	// loaded is the revision the collection was loaded at, changed that of its newest change (or loaded).
	loaded, changed int64
	// snap is the state as it is, once somebody has asked for it; the next change makes it nil.
	snap    *snapshot
	pages   []*snapshot // what lists are being paged through, oldest first
	history history
	shelves shelves
}

// state is where a collection is in its life.
type state uint8

const (
	loading state = iota
	ready
	closed
)

// snapshot is the state between two changes: of every revision from changed on, up to the next change.
type snapshot struct {
	tree    *tree
	changed int64
	last    int64 // the highest revision that the snapshot is known to be right for; guarded by Collection.mu
	taken   time.Time
}

func newCollection(cache *Cache, r Resource) *Collection {
	c := &Collection{cache: cache, resource: r}
	c.history.maxEvents, c.history.maxBytes = cache.cfg.HistoryEvents, cache.cfg.HistoryBytes
	c.clear()
	return c
}

func (c *Collection) clear() {
	c.tree, c.index = newTree(), newIndex(c.resource.IndexedFields)
	c.snap, c.pages = nil, nil
}

// Key returns the storage key of an object.
func (c *Collection) Key(namespace, name string) string {
	if c.resource.Namespaced {
		return c.resource.Prefix + namespace + "/" + name
	}
	return c.resource.Prefix + name
}

// Len returns how many entries there are.
func (c *Collection) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tree.Len()
}

// Changed is the revision of the newest change, for those who keep something that they have made of the entries.
func (c *Collection) Changed() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}

// Get returns the entry of an object; ok is false when there is none. Namespace is empty for cluster-scoped ones.
func (c *Collection) Get(namespace, name string) (entry *Entry, ok bool) {
	return c.get(c.Key(namespace, name))
}

func (c *Collection) get(key string) (*Entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tree.Get(&Entry{Key: key})
}

// open makes the entry of a stored value; prev, which may be nil, is what it replaces.
func (c *Collection) open(kv store.KV, prev *Entry) *Entry {
	e := &Entry{Revision: kv.Revision, Value: kv.Value, pool: &c.cache.memos}
	var attributes Attributes
	var same pairs
	var sameFields pairs
	if prev != nil {
		e.Key, e.Namespace, e.Name, same, sameFields = prev.Key, prev.Namespace, prev.Name, prev.labels, prev.fields
	} else {
		e.parseKey(kv.Key, c.resource.Prefix, c.resource.Namespaced)
	}
	if c.resource.Open != nil {
		e.Value, e.Err = c.resource.Open(kv.Key, kv.Value)
	}
	if e.Err == nil && c.resource.Attributes != nil {
		attributes, e.Err = c.resource.Attributes(e.Value)
	}
	if e.Err != nil {
		e.Err = fmt.Errorf("read what is stored at %s: %w", e.Key, e.Err)
		c.cache.log.Error("a stored value cannot be read", zap.String("key", e.Key), zap.Int64("revision", e.Revision), zap.Error(e.Err))
	}
	e.labels, e.fields = newPairs(attributes.Labels, same), newPairs(attributes.Fields, sameFields)
	return e
}

// load replaces everything by what is in the store at a revision. Watchers, if any, have lost their place. With first
// set, it does nothing when another has loaded the collection meanwhile.
func (c *Collection) load(kvs []store.KV, revision int64, first bool) {
	entries := make([]*Entry, len(kvs))
	for i, kv := range kvs {
		entries[i] = c.open(kv, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == closed || (first && c.state == ready) {
		return
	}
	c.shelves.endAll(ErrExpired)
	c.clear()
	for _, e := range entries {
		c.put(nil, e)
	}
	c.loaded, c.changed = revision, revision
	c.history.reset(revision)
	c.state = ready
	waiting := c.waiting
	c.waiting = nil
	c.publish(c.changes(waiting, func(key string) *Entry {
		e, _ := c.tree.Get(&Entry{Key: key})
		return e
	}))
}

// apply takes the next events of the collection. Only the cache's one feeder calls it.
func (c *Collection) apply(events []store.Event) {
	c.mu.Lock()
	if c.state != ready {
		if c.state == loading {
			c.waiting = append(c.waiting, events...)
		}
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	changes := c.changes(events, func(key string) *Entry { // no lock is held while values are read
		e, _ := c.get(key)
		return e
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.publish(changes)
}

// changes pairs events with the state before them, which nobody else may be changing.
func (c *Collection) changes(events []store.Event, before func(key string) *Entry) []*change {
	now := time.Now().Unix()
	out := make([]*change, 0, len(events))
	recent := map[string]*Entry{} // by this batch; nil: deleted
	for _, event := range events {
		if event.KV.Revision <= c.loaded {
			continue
		}
		prev, known := recent[event.KV.Key]
		if !known {
			prev = before(event.KV.Key)
		}
		if event.Deleted {
			recent[event.KV.Key] = nil
			if prev != nil {
				out = append(out, &change{entry: prev.at(event.KV.Revision), prev: prev, deleted: true, at: now})
			}
			continue
		}
		e := c.open(event.KV, prev)
		recent[e.Key] = e
		out = append(out, &change{entry: e, prev: prev, at: now})
	}
	return out
}

// publish makes changes the state and wakes who watches for them. c.mu is held.
func (c *Collection) publish(changes []*change) {
	if len(changes) == 0 || c.state != ready {
		return
	}
	c.snap = nil
	for _, ch := range changes {
		if ch.deleted {
			c.put(ch.prev, nil)
		} else {
			c.put(ch.prev, ch.entry)
		}
		c.changed = ch.entry.Revision
		c.shelves.tell(ch, c.history.append(ch, c.forget), c.index)
	}
}

// put replaces old by new in the tree and the indexes; either may be nil.
func (c *Collection) put(old, new *Entry) {
	if new != nil {
		c.tree.ReplaceOrInsert(new)
	} else {
		c.tree.Delete(old)
	}
	c.index.replace(old, new)
}

// forget drops the encodings of what a change replaced once the change is old or forgotten.
func (c *Collection) forget(ch *change) {
	if ch.prev != nil {
		c.cache.memos.forget(ch.prev)
	}
	if left := ch.left.Load(); left != nil {
		c.cache.memos.forget(left)
	}
	if ch.deleted {
		c.cache.memos.forget(ch.entry)
	}
}

// expire frees what is old; the cache calls it now and then.
func (c *Collection) expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history.expire(now, c.forget)
	for len(c.pages) > 0 && now.Sub(c.pages[0].taken) > pagesAge {
		c.pages = c.pages[1:]
	}
}

// close ends the collection and its watchers.
func (c *Collection) close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = closed
	c.waiting = nil
	c.shelves.endAll(err)
}
