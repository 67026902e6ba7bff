// Package memstore is a store.Store in memory, for tests: revisions, history and compaction as in etcd, and nothing
// survives it.
package memstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"karve.dev/karve/services/api/store"
)

// Store is a store.Store; New makes it.
type Store struct {
	mu       sync.RWMutex
	revision int64
	// compacted is the oldest revision that can be read.
	compacted int64
	keys      []string // sorted; every key with versions
	versions  map[string][]version
	// log holds the events from revision compacted on, in order.
	log     []store.Event
	changed chan struct{} // closed and replaced at every commit
	closed  chan struct{}
	once    sync.Once
}

// version is a key's value from its revision on.
type version struct {
	revision int64
	value    []byte // nil: deleted
}

var _ store.Store = (*Store)(nil)

// New returns an empty store at revision 1, as etcd's is.
func New() *Store {
	return &Store{revision: 1, versions: map[string][]version{}, changed: make(chan struct{}), closed: make(chan struct{})}
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, error) {
	if err := s.err(ctx); err != nil {
		return store.KV{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.at(key, s.revision)
	if v.value == nil {
		return store.KV{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
	}
	return store.KV{Key: key, Value: v.value, Revision: v.revision}, nil
}

// at returns the version of a key that was current at a revision; the zero one when there was none.
func (s *Store) at(key string, revision int64) version {
	versions := s.versions[key]
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].revision <= revision {
			return versions[i]
		}
	}
	return version{}
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, opts store.ListOptions) ([]store.KV, int64, error) {
	if err := s.err(ctx); err != nil {
		return nil, 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	revision := opts.Revision
	switch {
	case revision == 0:
		revision = s.revision
	case revision > s.revision:
		return nil, 0, fmt.Errorf("list %s: %w", prefix, store.ErrFuture)
	case revision < s.compacted:
		return nil, 0, fmt.Errorf("list %s: %w", prefix, store.ErrCompacted)
	}
	start := prefix
	if opts.After != "" {
		start = max(prefix, opts.After+"\x00")
	}
	out := []store.KV{}
	first, _ := slices.BinarySearch(s.keys, start)
	for _, key := range s.keys[first:] {
		if !strings.HasPrefix(key, prefix) || (opts.Limit > 0 && len(out) == opts.Limit) {
			break
		}
		if v := s.at(key, revision); v.value != nil {
			out = append(out, store.KV{Key: key, Value: v.value, Revision: v.revision})
		}
	}
	return out, revision, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	if err := s.err(ctx); err != nil {
		return 0, err
	}
	if err := store.CheckOps(ops); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, op := range ops {
		var found int64
		if v := s.at(op.Key, s.revision); v.value != nil {
			found = v.revision
		}
		if err := store.CheckExpected(op.Expected, found); err != nil {
			return 0, &store.FailedOpError{Index: i, Key: op.Key, Err: err}
		}
	}
	return s.write(ops), nil
}

func (s *Store) write(ops []store.Op) int64 {
	next := s.revision + 1
	for _, op := range ops {
		value := slices.Clone(op.Value)
		if op.Value == nil {
			if s.at(op.Key, s.revision).value == nil {
				continue
			}
		} else if value == nil {
			value = []byte{}
		}
		if i, found := slices.BinarySearch(s.keys, op.Key); !found {
			s.keys = slices.Insert(s.keys, i, op.Key)
		}
		s.versions[op.Key] = append(s.versions[op.Key], version{next, value})
		s.log = append(s.log, store.Event{KV: store.KV{Key: op.Key, Value: value, Revision: next}, Deleted: value == nil})
		s.revision = next
	}
	if s.revision == next {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return s.revision
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	if err := s.err(ctx); err != nil {
		return 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision, nil
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	if err := s.err(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision > s.revision {
		return fmt.Errorf("compact: %w", store.ErrFuture)
	}
	if revision <= s.compacted {
		return fmt.Errorf("compact: %w", store.ErrCompacted)
	}
	s.compacted = revision
	s.log = slices.Clone(s.log[s.after(revision-1):]) // the revision itself stays readable, and so does its event
	s.keys = slices.DeleteFunc(s.keys, func(key string) bool {
		versions := s.versions[key]
		for len(versions) > 1 && versions[1].revision <= revision {
			versions = versions[1:]
		}
		if versions[0].revision <= revision && versions[0].value == nil {
			versions = versions[1:]
		}
		s.versions[key] = slices.Clone(versions)
		if len(versions) == 0 {
			delete(s.versions, key)
		}
		return len(versions) == 0
	})
	return nil
}

// after returns the place in the log of the first event above a revision.
func (s *Store) after(revision int64) int {
	i, _ := slices.BinarySearchFunc(s.log, revision+1, func(e store.Event, r int64) int {
		return int(e.KV.Revision - r)
	})
	return i
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after int64, fn func([]store.Event, int64) error) error {
	for {
		if err := s.err(ctx); err != nil {
			return err
		}
		events, revision, changed, err := s.since(prefix, after)
		if err != nil {
			return fmt.Errorf("watch %s: %w", prefix, err)
		}
		if revision > after {
			if err := fn(events, revision); err != nil {
				return fmt.Errorf("watch %s: %w", prefix, err)
			}
			after = revision
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-s.closed:
		}
	}
}

// since returns the events with the prefix after a revision, how far they reach, and a channel that ends with the next commit.
func (s *Store) since(prefix string, after int64) ([]store.Event, int64, <-chan struct{}, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if after+1 < s.compacted {
		return nil, 0, nil, store.ErrCompacted
	}
	var out []store.Event
	for _, e := range s.log[s.after(after):] {
		if strings.HasPrefix(e.KV.Key, prefix) {
			out = append(out, e)
		}
	}
	return out, s.revision, s.changed, nil
}

func (s *Store) err(ctx context.Context) error {
	select {
	case <-s.closed:
		return context.Canceled
	default:
		return ctx.Err()
	}
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
