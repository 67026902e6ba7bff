// Package store is the API service's view of what is durable: keys, bytes and revisions. Its implementations are
// etcdstore (embedded or external etcd) and memstore (tests); storetest holds the suite that both must pass.
package store

import (
	"context"
	"errors"
	"fmt"
)

// Errors that a Store returns, wrapped or not; ask with errors.Is.
var (
	// ErrExists: Create found the key.
	ErrExists = errors.New("key exists")
	// ErrNotFound: the key is not there.
	ErrNotFound = errors.New("key not found")
	// ErrConflict: the key's revision is not the expected one.
	ErrConflict = errors.New("key was changed")
	// ErrCompacted: the revision asked for is older than what is kept.
	ErrCompacted = errors.New("revision was compacted")
	// ErrFuture: the revision asked for has not happened yet.
	ErrFuture = errors.New("revision is in the future")
	// ErrTooLarge: the transaction has more bytes than the store takes.
	ErrTooLarge = errors.New("value is too large")
	// ErrFull: the store has no space left.
	ErrFull = errors.New("store is full")
)

// KV is one key at one revision. Value is shared: it must not be changed.
type KV struct {
	Key   string
	Value []byte
	// Revision is the store's revision at which this value was written.
	Revision int64
}

// Op is one change of a transaction.
type Op struct {
	Key string
	// Value is what to write; nil deletes the key.
	Value []byte
	// Expected is the revision that the key must have: 0 for "must not exist", -1 for any.
	Expected int64
}

// Event is one change. For a deletion, KV.Value is nil and KV.Revision the revision of the deletion. What was there
// before is not told: it would cost the store a read per change, and a reader who needs it has it already.
type Event struct {
	KV      KV
	Deleted bool
}

// Store keeps keys. All methods are safe for concurrent use. A write that has returned without error is durable. A
// write that failed with a context error or a lost connection may or may not have happened: read to know.
type Store interface {
	// Get returns the newest value of a key, linearizable; ErrNotFound when there is none.
	Get(ctx context.Context, key string) (KV, error)
	// List returns the keys with the prefix in order, all as of one revision, which it returns too. At revision 0 the
	// list is linearizable; otherwise it is as of that revision (ErrCompacted when that is gone, ErrFuture when it has
	// not happened). It reads at most opts.Limit keys after the key opts.After ("" to begin); limit 0 means all.
	List(ctx context.Context, prefix string, opts ListOptions) (kvs []KV, revision int64, err error)
	// Commit carries out all ops (1 to MaxOps, each with another key) atomically and returns the revision they got. When
	// an expectation does not hold, nothing is written and a *FailedOpError tells the first that does not; it wraps ErrExists,
	// ErrNotFound or ErrConflict. Deleting a key that is not there, with Expected -1, changes nothing and is no error.
	Commit(ctx context.Context, ops ...Op) (revision int64, err error)
	// Revision returns the store's newest revision, linearizable. Concurrent calls share one round trip.
	Revision(ctx context.Context) (int64, error)
	// Watch calls fn for every change of keys with the prefix at revisions above after, in order, none missed and none
	// twice, until ctx ends (it returns ctx's error), fn fails (it returns that), or history is gone (ErrCompacted).
	// Events of one revision come in one call. revision is how far the watch has come: after a call of Revision, fn
	// gets at least that soon, with an empty batch when no key with the prefix changed. fn must not keep the slice.
	Watch(ctx context.Context, prefix string, after int64, fn func(events []Event, revision int64) error) error
	// Compact forgets history before revision.
	Compact(ctx context.Context, revision int64) error
	// Close releases what the store holds. Calls under way fail.
	Close() error
}

// MaxOps is how many ops one Commit takes.
const MaxOps = 128

// CheckOps says what is wrong with the ops of a Commit as such. It is for implementations.
func CheckOps(ops []Op) error {
	if len(ops) == 0 || len(ops) > MaxOps {
		return fmt.Errorf("commit of %d ops: 1 to %d are possible", len(ops), MaxOps)
	}
	for i, op := range ops {
		for _, other := range ops[:i] {
			if op.Key == other.Key {
				return fmt.Errorf("commit: %s is there twice", op.Key)
			}
		}
	}
	return nil
}

// CheckExpected says whether a key that is at revision found (0: not there) is as expected; see Op. It is for
// implementations.
func CheckExpected(expected, found int64) error {
	switch {
	case expected < 0 || expected == found:
		return nil
	case expected == 0:
		return ErrExists
	case found == 0:
		return ErrNotFound
	}
	return ErrConflict
}

// ListOptions narrow a List; see there.
type ListOptions struct {
	Revision int64
	After    string
	Limit    int
}

// FailedOpError tells which expectation of a Commit did not hold.
type FailedOpError struct {
	// Index is the op's place in the call.
	Index int
	Key   string
	// Err is ErrExists, ErrNotFound or ErrConflict.
	Err error
}

// Error implements error.
func (e *FailedOpError) Error() string { return "commit " + e.Key + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *FailedOpError) Unwrap() error { return e.Err }
