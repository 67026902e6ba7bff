// Package watch is the watch cache: one watch on the store feeds an ordered, indexed snapshot of every resource in
// memory, from which reads and watches are served. Entries hold the stored bytes and the few fields that selectors
// ask for; nothing here knows a kind.
//
// The cache's revision is the store's: one stream carries all resources, so a snapshot is as new as the newest change
// of any of them. A consistent read is Sync followed by a read.
package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"karve.dev/karve/services/api/store"
)

// Errors of the cache; ask with errors.Is.
var (
	// ErrExpired: history does not reach back to the revision asked for (HTTP 410; the client lists anew).
	ErrExpired = errors.New("the revision is too old")
	// ErrFuture: the revision asked for is newer than the store's newest ("Too large resource version").
	ErrFuture = errors.New("the revision is in the future")
	// ErrSlow: the watcher did not keep up and was cut. It may watch again from the last revision that it got.
	ErrSlow = errors.New("the watcher is too slow")
	// ErrClosed: the watcher was stopped, the collection removed, or the cache has ended.
	ErrClosed = errors.New("the watch is closed")
)

// Config makes a Cache; only Store is required.
type Config struct {
	Store store.Store
	// Prefix is what all resources' keys begin with; default "/registry/".
	Prefix string
	Log    *zap.Logger
	// HistoryEvents and HistoryBytes bound the events kept per resource; defaults 16,384 and 8 MiB.
	HistoryEvents int
	HistoryBytes  int
	// MemoBytes bounds what Entry.Encoded keeps, over all entries; default 32 MiB.
	MemoBytes int
	// BookmarkEvery is how often watchers that want them get bookmarks; default one minute.
	BookmarkEvery time.Duration
	// FutureWait is how long a read waits for a revision that the store does not have yet; default 3 seconds.
	FutureWait time.Duration
	// Metrics is where the cache's metrics are registered; nil: nowhere.
	Metrics prometheus.Registerer
}

func (c *Config) setDefaults() {
	if c.Prefix == "" {
		c.Prefix = "/registry/"
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	for _, d := range []struct {
		value *int
		unset int
	}{{&c.HistoryEvents, 16_384}, {&c.HistoryBytes, 8 << 20}, {&c.MemoBytes, 32 << 20}} {
		if *d.value == 0 {
			*d.value = d.unset
		}
	}
	if c.BookmarkEvery == 0 {
		c.BookmarkEvery = time.Minute
	}
	if c.FutureWait == 0 {
		c.FutureWait = 3 * time.Second
	}
}

// Cache holds every resource that was added to it.
type Cache struct {
	cfg   Config
	log   *zap.Logger
	gate  gate
	memos memoPool
	stats collector
	ready chan struct{}

	mu          sync.RWMutex
	collections map[string]*Collection // by prefix
	state       state                  // ready: new collections are loaded by Add
}

// New returns a cache that is empty until Run.
func New(cfg Config) *Cache {
	cfg.setDefaults()
	c := &Cache{
		cfg: cfg, log: cfg.Log, memos: memoPool{limit: cfg.MemoBytes},
		ready: make(chan struct{}), collections: map[string]*Collection{},
	}
	c.stats.cache = c
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(&c.stats)
	}
	return c
}

// Ready is closed when every collection added before Run is loaded.
func (c *Cache) Ready() <-chan struct{} { return c.ready }

// Add makes the cache hold a resource. Before Run it only registers it. Afterwards (a custom resource) it loads it
// and returns when it can be read. Adding a prefix again returns what is there.
func (c *Cache) Add(ctx context.Context, r Resource) (*Collection, error) {
	if prefix, ok := c.prefixOf(r.Prefix + "x"); !ok || prefix != r.Prefix {
		return nil, fmt.Errorf("watch cache: %q is not %sGROUP/PLURAL/", r.Prefix, c.cfg.Prefix)
	}
	c.mu.Lock()
	if there := c.collections[r.Prefix]; there != nil {
		c.mu.Unlock()
		return there, nil
	}
	if c.state == closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	added := newCollection(c, r)
	c.collections[r.Prefix] = added
	running := c.state == ready
	c.mu.Unlock()
	if !running {
		return added, nil
	}
	kvs, revision, err := c.cfg.Store.List(ctx, r.Prefix, store.ListOptions{})
	if err != nil {
		c.Remove(r.Prefix)
		return nil, fmt.Errorf("load %s: %w", r.Prefix, err)
	}
	added.load(kvs, revision, true)
	return added, nil
}

// Remove forgets the resource with the prefix; its watchers end with ErrClosed.
func (c *Cache) Remove(prefix string) {
	c.mu.Lock()
	removed := c.collections[prefix]
	delete(c.collections, prefix)
	c.mu.Unlock()
	if removed != nil {
		removed.close(ErrClosed)
	}
}

// Collection returns what Add returned for the prefix, or nil.
func (c *Cache) Collection(prefix string) *Collection {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.collections[prefix]
}

// prefixOf returns the part of a key up to the slash after the resource's plural.
func (c *Cache) prefixOf(key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, c.cfg.Prefix)
	if !ok {
		return "", false
	}
	group := strings.IndexByte(rest, '/') + 1
	plural := strings.IndexByte(rest[group:], '/') + 1
	return key[:len(c.cfg.Prefix)+group+plural], group > 1 && plural > 1
}

// Revision is how far the cache has come.
func (c *Cache) Revision() int64 { return c.gate.revision.Load() }

// WaitFor returns when the cache has reached the revision (at once when it has). It fails with ErrFuture when that
// takes longer than Config.FutureWait, or with ctx's error.
func (c *Cache) WaitFor(ctx context.Context, revision int64) error {
	if c.gate.revision.Load() >= revision {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, c.cfg.FutureWait)
	defer cancel()
	// Asking the store also makes its watch tell how far it has come, should the revision be of a key elsewhere.
	if _, err := c.cfg.Store.Revision(limited); err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for revision %d: %w", revision, err)
	}
	err := c.gate.wait(limited, revision)
	if err != nil && ctx.Err() == nil {
		return ErrFuture
	}
	return err
}

// Sync returns when the cache has reached the revision that the store had when Sync was called, and that revision: a
// read after it sees every write that was acknowledged before it. Concurrent calls share one round trip.
func (c *Cache) Sync(ctx context.Context) (int64, error) {
	revision, err := c.cfg.Store.Revision(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask the store's revision: %w", err)
	}
	return revision, c.gate.wait(ctx, revision)
}
