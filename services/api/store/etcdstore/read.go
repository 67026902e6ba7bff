package etcdstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"karve.dev/karve/services/api/store"
)

// pageSize bounds one answer of etcd, so that a long list is not in memory twice.
const pageSize = 5_000

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, error) {
	resp, err := s.client.Get(ctx, key, s.consistent()...)
	if err != nil {
		return store.KV{}, fmt.Errorf("get %s: %w", key, translate(err))
	}
	if len(resp.Kvs) == 0 {
		return store.KV{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
	}
	return toKV(resp.Kvs[0]), nil
}

// consistent returns the options of a linearizable read.
func (s *Store) consistent() []clientv3.OpOption {
	if s.member != nil && s.member.rules() {
		return []clientv3.OpOption{clientv3.WithSerializable()}
	}
	return nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, opts store.ListOptions) ([]store.KV, int64, error) {
	var out []store.KV
	from, end, revision := prefix, clientv3.GetPrefixRangeEnd(prefix), opts.Revision
	if opts.After != "" {
		from = max(from, opts.After+"\x00")
	}
	for {
		limit := pageSize
		if opts.Limit > 0 {
			limit = min(limit, opts.Limit-len(out))
		}
		resp, err := s.page(ctx, from, end, limit, revision)
		if err != nil {
			return nil, 0, fmt.Errorf("list %s: %w", prefix, translate(err))
		}
		if revision == 0 {
			revision = resp.Header.Revision
		}
		if out == nil {
			out = make([]store.KV, 0, len(resp.Kvs))
		}
		for _, kv := range resp.Kvs {
			out = append(out, toKV(kv))
		}
		if !resp.More || (opts.Limit > 0 && len(out) >= opts.Limit) {
			return out, revision, nil
		}
		from = out[len(out)-1].Key + "\x00"
	}
}

func (s *Store) page(ctx context.Context, from, end string, limit int, revision int64) (*clientv3.GetResponse, error) {
	opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(int64(limit))}
	if revision > 0 {
		opts = append(opts, clientv3.WithRev(revision))
	}
	return s.client.Get(ctx, from, append(opts, s.consistent()...)...)
}

func toKV(kv *mvccpb.KeyValue) store.KV {
	return store.KV{Key: string(kv.Key), Value: kv.Value, Revision: kv.ModRevision}
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	revision, err := s.newestRevision(ctx)
	if err == nil {
		s.watches.want(revision)
	}
	return revision, err
}

func (s *Store) newestRevision(ctx context.Context) (int64, error) {
	if s.member != nil && s.member.rules() {
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		return s.member.revision(), nil
	}
	return s.newest.get(ctx)
}

func (s *Store) fetchRevision() (int64, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	resp, err := s.client.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("read etcd's revision: %w", translate(err))
	}
	return resp.Header.Revision, nil
}

// sharedRead lets concurrent calls share reads: a call gets the result of the first read that began after it.
type sharedRead struct {
	fetch func() (int64, error)

	mu      sync.Mutex
	next    *readRound // not begun; nil: none is asked for
	running bool
}

type readRound struct {
	done     chan struct{}
	revision int64
	err      error
}

func (r *sharedRead) get(ctx context.Context) (int64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &readRound{done: make(chan struct{})}
	}
	round := r.next
	if !r.running {
		r.running = true
		go r.run() // it ends when nobody waits; fetch ends with the store
	}
	r.mu.Unlock()
	select {
	case <-round.done:
		return round.revision, round.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (r *sharedRead) run() {
	for {
		r.mu.Lock()
		round := r.next
		r.next = nil
		if round == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		round.revision, round.err = r.fetch()
		close(round.done)
	}
}
