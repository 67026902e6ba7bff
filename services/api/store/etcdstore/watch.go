package etcdstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"karve.dev/karve/services/api/store"
)

// A watch that is behind a revision which a reader may wait for asks etcd how far it has come, and again while etcd
// does not tell, as when the watch has not caught up with history. Over the network it first gives events a moment
// to bring it there.
const (
	progressDelay = 5 * time.Millisecond
	progressRetry = 20 * time.Millisecond
)

// handler is what a Watch calls.
type handler func(events []store.Event, revision int64) error

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after int64, fn func([]store.Event, int64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	at := s.watches.add(after)
	defer s.watches.remove(at)
	tell := func(events []store.Event, revision int64) error {
		at.seen.Store(revision)
		return fn(events, revision)
	}
	var err error
	if s.member != nil {
		err = s.watchMember(ctx, prefix, after, at, tell)
	} else {
		err = s.watchClient(ctx, prefix, after, at, tell)
	}
	return fmt.Errorf("watch %s: %w", prefix, err)
}

// watchMember reads the embedded server's own event stream: no encoding, and one channel between a commit and fn.
func (s *Store) watchMember(ctx context.Context, prefix string, after int64, at *place, fn handler) error {
	stream := s.member.watchable().NewWatchStream()
	defer stream.Close()
	id, err := stream.Watch(ctx, 0, []byte(prefix), []byte(clientv3.GetPrefixRangeEnd(prefix)), after+1)
	if err != nil {
		return err
	}
	retry := time.NewTimer(progressRetry)
	defer retry.Stop()
	for {
		select {
		case resp := <-stream.Chan():
			events, revision, err := drain(stream, resp)
			if err != nil {
				return err
			}
			if err := fn(events, revision); err != nil {
				return err
			}
		case <-at.behind:
			at.hurry(stream, id, retry)
		case <-retry.C:
			at.hurry(stream, id, retry)
		case <-s.member.stopped():
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hurry asks for the watch's progress unless it has come far enough, or events are waiting that may bring it there.
func (p *place) hurry(stream mvcc.WatchStream, id mvcc.WatchID, retry *time.Timer) {
	if p.seen.Load() >= p.wanted.Load() {
		return
	}
	if len(stream.Chan()) == 0 {
		stream.RequestProgress(id)
	}
	retry.Reset(progressRetry)
}

// drainEvents is how many events a batch is made of at most, about.
const drainEvents = 512

// drain joins a response and those that wait behind it: under load, what is done per batch is done less often.
func drain(stream mvcc.WatchStream, resp mvcc.WatchResponse) (events []store.Event, revision int64, err error) {
	for {
		if resp.CompactRevision != 0 {
			return nil, 0, store.ErrCompacted
		}
		events = append(events, toEvents(resp.Events)...)
		revision = reached(resp.Events, resp.Revision)
		if len(events) >= drainEvents {
			return events, revision, nil
		}
		select {
		case resp = <-stream.Chan():
		default:
			return events, revision, nil
		}
	}
}

// watchClient reads an external cluster's events. The client carries the watch over lost connections.
func (s *Store) watchClient(ctx context.Context, prefix string, after int64, at *place, fn handler) error {
	ctx = clientv3.WithRequireLeader(ctx)
	responses := s.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1), clientv3.WithProgressNotify())
	var wait <-chan time.Time
	for {
		select {
		case resp, ok := <-responses:
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case resp.CompactRevision != 0:
				return store.ErrCompacted
			case resp.Err() != nil:
				return resp.Err()
			case !ok:
				return context.Canceled
			}
			events := fromClient(resp.Events)
			if err := fn(toEvents(events), reached(events, resp.Header.Revision)); err != nil {
				return err
			}
		case <-at.behind:
			if wait == nil {
				wait = time.After(progressDelay)
			}
		case <-wait:
			if wait = nil; at.seen.Load() < at.wanted.Load() {
				if err := s.client.RequestProgress(ctx); err != nil {
					return err
				}
				wait = time.After(progressRetry)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reached returns how far a watch has come with a batch. For a batch of history, etcd names the newest revision of the
// store, which the batch need not reach.
func reached(events []*mvccpb.Event, revision int64) int64 {
	if len(events) == 0 {
		return revision
	}
	return events[len(events)-1].Kv.ModRevision
}

func toEvents(in []*mvccpb.Event) []store.Event {
	out := make([]store.Event, len(in))
	for i, e := range in {
		out[i] = toEvent(e)
	}
	return out
}

func fromClient(in []*clientv3.Event) []*mvccpb.Event {
	out := make([]*mvccpb.Event, len(in))
	for i, e := range in {
		out[i] = (*mvccpb.Event)(e)
	}
	return out
}

func toEvent(e *mvccpb.Event) store.Event {
	out := store.Event{KV: toKV(e.Kv), Deleted: e.Type == mvccpb.Event_DELETE}
	if out.Deleted {
		out.KV.Value = nil
	}
	return out
}

// watches knows how far each watch has come, so that those that a reader may wait for can be hurried.
type watches struct {
	mu     sync.Mutex
	places map[*place]struct{}
}

// place is where one watch stands.
type place struct {
	seen, wanted atomic.Int64
	behind       chan struct{} // tells that seen < wanted
}

func (w *watches) add(after int64) *place {
	p := &place{behind: make(chan struct{}, 1)}
	p.seen.Store(after)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.places == nil {
		w.places = map[*place]struct{}{}
	}
	w.places[p] = struct{}{}
	return p
}

func (w *watches) remove(p *place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.places, p)
}

// want hurries the watches that have not come to the revision.
func (w *watches) want(revision int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.places {
		if p.seen.Load() >= revision {
			continue
		}
		p.wanted.Store(revision)
		select {
		case p.behind <- struct{}{}:
		default:
		}
	}
}
