// Package encryption keeps Secrets unreadable on disk: it wraps a store so that the values of some keys are encrypted
// with AES-256-GCM before they are written, and decrypted when they are read. Nothing above it notices.
package encryption

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"karve.dev/karve/services/api/store"
)

// mark begins an encrypted value; the key's name and a colon follow, then the nonce and the sealed bytes.
const mark = "karve:enc:aesgcm:v1:"

// ErrKey is the error for a value that no key of the ring opens.
var ErrKey = errors.New("no key opens the stored value")

// Store encrypts the values of keys below its prefixes. It is safe for concurrent use when the store below is.
type Store struct {
	store.Store
	ring     atomic.Pointer[Ring]
	prefixes []string
}

var _ store.Store = (*Store)(nil)

// Wrap returns a store that encrypts what lies below the prefixes with the ring's first key. Values that are not
// encrypted yet are read as they are, so that encryption can be turned on in a cluster that exists.
func Wrap(inner store.Store, ring *Ring, prefixes ...string) *Store {
	s := &Store{Store: inner, prefixes: prefixes}
	s.ring.Store(ring)
	return s
}

func (s *Store) covers(key string) bool {
	for _, p := range s.prefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// overlaps reports whether a listing or watch of the prefix can hold encrypted values.
func (s *Store) overlaps(prefix string) bool {
	for _, p := range s.prefixes {
		if strings.HasPrefix(p, prefix) || strings.HasPrefix(prefix, p) {
			return true
		}
	}
	return false
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, error) {
	kv, err := s.Store.Get(ctx, key)
	if err != nil || !s.covers(key) {
		return kv, err
	}
	return s.open(kv)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, opts store.ListOptions) ([]store.KV, int64, error) {
	kvs, revision, err := s.Store.List(ctx, prefix, opts)
	if err != nil || !s.overlaps(prefix) {
		return kvs, revision, err
	}
	out := make([]store.KV, len(kvs))
	for i, kv := range kvs {
		out[i] = s.openOrKeep(kv)
	}
	return out, revision, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	sealed := ops
	for i, op := range ops {
		if op.Value == nil || !s.covers(op.Key) {
			continue
		}
		if &sealed[0] == &ops[0] {
			sealed = append([]store.Op(nil), ops...)
		}
		value, err := s.ring.Load().seal(op.Key, op.Value)
		if err != nil {
			return 0, err
		}
		sealed[i].Value = value
	}
	return s.Store.Commit(ctx, sealed...)
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after int64, fn func([]store.Event, int64) error) error {
	if !s.overlaps(prefix) {
		return s.Store.Watch(ctx, prefix, after, fn)
	}
	return s.Store.Watch(ctx, prefix, after, func(events []store.Event, revision int64) error {
		return fn(s.openEvents(events), revision)
	})
}

func (s *Store) openEvents(events []store.Event) []store.Event {
	var out []store.Event
	for i, ev := range events {
		if ev.Deleted || !s.covers(ev.KV.Key) {
			continue
		}
		if out == nil {
			out = append(out, events...)
		}
		out[i].KV = s.openOrKeep(ev.KV)
	}
	if out == nil {
		return events
	}
	return out
}

// openOrKeep leaves a value sealed that no key opens: whoever reads that one object fails, and nobody else.
func (s *Store) openOrKeep(kv store.KV) store.KV {
	if s.covers(kv.Key) {
		if opened, err := s.open(kv); err == nil {
			return opened
		}
	}
	return kv
}

func (s *Store) open(kv store.KV) (store.KV, error) {
	value, err := s.ring.Load().Open(kv.Key, kv.Value)
	if err != nil {
		return kv, fmt.Errorf("decrypt %s: %w", kv.Key, err)
	}
	kv.Value = value
	return kv, nil
}

// seal encrypts a value for the place where it is stored: moved to another key it cannot be opened.
func (r *Ring) seal(place string, value []byte) ([]byte, error) {
	k := r.keys[0]
	head := mark + k.name + ":"
	out := make([]byte, len(head)+k.aead.NonceSize(), len(head)+k.aead.NonceSize()+len(value)+k.aead.Overhead())
	copy(out, head)
	nonce := out[len(head):]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	return k.aead.Seal(out, nonce, value, []byte(place)), nil
}

// Open returns the value that is stored at a key: decrypted, or as it is when it is not encrypted. ErrKey: no key opens it.
func (r *Ring) Open(place string, stored []byte) ([]byte, error) {
	rest, encrypted := strings.CutPrefix(string(stored[:min(len(stored), len(mark)+maxName+1)]), mark)
	if !encrypted {
		return stored, nil
	}
	name, _, ok := strings.Cut(rest, ":")
	if !ok {
		return nil, ErrKey
	}
	sealed := stored[len(mark)+len(name)+1:]
	for _, k := range r.keys {
		if k.name != name || len(sealed) < k.aead.NonceSize() {
			continue
		}
		value, err := k.aead.Open(nil, sealed[:k.aead.NonceSize()], sealed[k.aead.NonceSize():], []byte(place))
		if err == nil {
			return value, nil
		}
	}
	return nil, ErrKey
}

// current reports whether a stored value is encrypted with the ring's first key.
func (r *Ring) current(stored []byte) bool {
	return strings.HasPrefix(string(stored[:min(len(stored), len(mark)+maxName+1)]), mark+r.keys[0].name+":")
}

func newAEAD(secret []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
