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
	"time"

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
	// ErrClosed: the collection was removed, or the cache has stopped.
	ErrClosed = errors.New("the watch cache is closed")
)

// Config makes a Cache; only Store is required.
type Config struct {
	Store store.Store
	// Prefix is what all resources' keys begin with; default "/registry/".
	Prefix string
	Log    *zap.Logger
	// HistoryEvents and HistoryBytes bound the events kept per resource; defaults 16,384 and 16 MiB.
	HistoryEvents int
	HistoryBytes  int
	// MemoBytes bounds what Entry.Encoded keeps, over all entries; default 48 MiB.
	MemoBytes int
	// BookmarkEvery is how often watchers that want them get bookmarks; default one minute.
	BookmarkEvery time.Duration
	// FutureWait is how long a read waits for a revision that the store does not have yet; default 3 seconds.
	FutureWait time.Duration
}

// Cache holds every resource that was added to it.
type Cache struct{}

// New returns a cache that is empty until Run.
func New(cfg Config) *Cache { return nil }

// Run loads the collections and keeps them current until ctx ends; it returns nil then, after all watchers have
// ended with ErrClosed. Losing the store is not an error: it tries again.
func (c *Cache) Run(ctx context.Context) error { return nil }

// Ready is closed when every collection added before Run is loaded.
func (c *Cache) Ready() <-chan struct{} { return nil }

// Add makes the cache hold a resource. Before Run it only registers it. Afterwards (a custom resource) it loads it
// and returns when it can be read. Adding a prefix again returns what is there.
func (c *Cache) Add(ctx context.Context, r Resource) (*Collection, error) { return nil, nil }

// Remove forgets the resource with the prefix; its watchers end with ErrClosed.
func (c *Cache) Remove(prefix string) {}

// Collection returns what Add returned for the prefix, or nil.
func (c *Cache) Collection(prefix string) *Collection { return nil }

// Revision is how far the cache has come.
func (c *Cache) Revision() int64 { return 0 }

// WaitFor returns when the cache has reached the revision (at once when it has). It fails with ErrFuture when that takes longer
// than Config.FutureWait, or with ctx's error.
func (c *Cache) WaitFor(ctx context.Context, revision int64) error { return nil }

// Sync returns when the cache has reached the revision that the store had when Sync was called, and that revision: a
// read after it sees every write that was acknowledged before it. Concurrent calls share one round trip.
func (c *Cache) Sync(ctx context.Context) (int64, error) { return 0, nil }
