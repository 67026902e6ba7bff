package quota

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/watch"
)

// Bounds of one commit of a line, and of the attempts at it.
const (
	lineOps     = 100
	lineBytes   = 512 << 10
	lineTries   = 32
	lineTimeout = 10 * time.Second
)

// line is where the writes of one namespace wait. All of it is guarded by Ledger.mu but for known, which belongs to who
// leads.
type line struct {
	// busy: somebody leads.
	busy    bool
	waiting []*entry
	// known are the quotas as the last commit left them, by name: the cache hears of that a moment later.
	known map[string]*booked
}

// entry is one write in a line, or the wish that a quota be measured anew.
type entry struct {
	write *Write
	ops   []store.Op
	// dry: the write only wants to know whether it would be refused.
	dry bool
	// measure is the name of the quota; empty for a write. again is when its usage changes by time alone.
	measure string
	again   time.Time
	// turn wakes who waits: with the result, or to lead.
	turn     chan struct{}
	done     bool
	revision int64
	err      error
}

func (e *entry) finish(revision int64, err error) { e.done, e.revision, e.err = true, revision, err }

// enqueue waits until an entry is settled. Whoever finds the line free leads: he commits for all who wait by then,
// himself among them, and passes the lead on.
func (l *Ledger) enqueue(ctx context.Context, namespace string, e *entry) error {
	e.turn = make(chan struct{}, 1)
	l.mu.Lock()
	ln := l.lines[namespace]
	if ln == nil {
		ln = &line{}
		l.lines[namespace] = ln
	}
	ln.waiting = append(ln.waiting, e)
	leads := !ln.busy
	ln.busy = true
	l.mu.Unlock()
	if !leads {
		select {
		case <-e.turn:
		case <-ctx.Done():
			if l.withdraw(ln, e) {
				return ctx.Err()
			}
			// It is part of a commit, or was just made the leader.
			<-e.turn
		}
		if e.done {
			return e.err
		}
	}
	l.lead(ctx, ln, namespace)
	return e.err
}

// withdraw takes an entry out of the line; false when it is too late for that.
func (l *Ledger) withdraw(ln *line, e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, other := range ln.waiting {
		// The first is the next leader, and may have been told so.
		if other == e && i > 0 {
			ln.waiting = append(ln.waiting[:i], ln.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// lead commits for those at the head of the line and wakes them, and whoever leads next. The caller is the first.
func (l *Ledger) lead(ctx context.Context, ln *line, namespace string) {
	batch := l.take(ln)
	if ctx.Err() != nil {
		batch[0].finish(0, ctx.Err())
	}
	// The others' writes do not end with the leader's call.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lineTimeout)
	defer cancel()
	l.settle(ctx, ln, namespace, batch)
	l.mu.Lock()
	var next *entry
	if len(ln.waiting) > 0 {
		next = ln.waiting[0]
	} else {
		ln.busy = false
	}
	l.mu.Unlock()
	for _, e := range batch[1:] {
		e.turn <- struct{}{}
	}
	if next != nil {
		next.turn <- struct{}{}
	}
}

// take removes from the head of the line what fits into one commit; no two of them may touch the same key.
func (l *Ledger) take(ln *line) (batch []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := map[string]bool{}
	ops, size := 0, 0
	for len(ln.waiting) > 0 {
		e := ln.waiting[0]
		clash, bytes := false, 0
		for _, op := range e.ops {
			clash = clash || keys[op.Key]
			bytes += len(op.Value)
		}
		if len(batch) > 0 && (clash || ops+len(e.ops) > lineOps || size+bytes > lineBytes) {
			break
		}
		for _, op := range e.ops {
			keys[op.Key] = true
		}
		ops, size = ops+len(e.ops), size+bytes
		batch = append(batch, e)
		ln.waiting = ln.waiting[1:]
	}
	if len(ln.waiting) == 0 {
		ln.waiting = nil
	}
	return batch
}

// settle commits or refuses every write of the batch.
func (l *Ledger) settle(ctx context.Context, ln *line, namespace string, batch []*entry) {
	err := l.trySettle(ctx, ln, namespace, batch)
	for _, e := range batch {
		if err != nil && !e.done {
			e.finish(0, err)
		}
	}
}

func (l *Ledger) trySettle(ctx context.Context, ln *line, namespace string, batch []*entry) error {
	for try := 0; try < lineTries; {
		stored, err := l.quotas(ctx, namespace, ln.known)
		if err != nil {
			return err
		}
		now, err := l.measureSome(ctx, stored, batch)
		if err != nil {
			return err
		}
		after, pending := l.chargeAll(batch, now)
		if len(pending) == 0 {
			return nil
		}
		stale, err := l.commit(ctx, ln, stored, after, pending)
		if err != nil {
			return err
		}
		if stale {
			try++
			ln.known = nil
			if err := l.objects.Sync(ctx); err != nil {
				return err
			}
		}
	}
	return apierrors.NewServerTimeout(corev1.Resource("resourcequotas"), "update", 1)
}

// chargeAll charges one write after the other, and finishes those that are refused.
func (l *Ledger) chargeAll(batch []*entry, quotas []*booked) (after []*booked, pending []*entry) {
	after = quotas
	for _, e := range batch {
		switch {
		case e.done:
			continue
		case e.write != nil:
			next, err := l.charge(e.write, after)
			if err != nil || e.dry {
				e.finish(0, err)
				continue
			}
			after = next
		}
		pending = append(pending, e)
	}
	return after, pending
}

// commit commits the writes with what they leave of the quotas. Those whose own expectation does not hold are finished
// with that, and the others are left for another attempt. Stale tells that a quota was not as expected.
func (l *Ledger) commit(ctx context.Context, ln *line, before, after []*booked, pending []*entry) (stale bool, err error) {
	var ops []store.Op
	for i, q := range after {
		if q == before[i] {
			continue
		}
		op, err := l.op(q)
		if err != nil {
			return false, err
		}
		ops = append(ops, op)
	}
	quotaOps := len(ops)
	var owners []*entry
	for _, e := range pending {
		ops = append(ops, e.ops...)
		for range e.ops {
			owners = append(owners, e)
		}
	}
	var revision int64
	if len(ops) > 0 {
		revision, err = l.store.Commit(ctx, ops...)
	}
	var failed *store.FailedOpError
	switch {
	case errors.As(err, &failed) && failed.Index < quotaOps:
		return true, nil
	case errors.As(err, &failed):
		loser := owners[failed.Index-quotaOps]
		first := quotaOps
		for i, owner := range owners {
			if owner == loser {
				first += i
				break
			}
		}
		loser.finish(0, &store.FailedOpError{Index: failed.Index - first, Key: failed.Key, Err: failed.Err})
		return false, nil
	case err != nil:
		return false, err
	}
	if ln.known == nil {
		ln.known = map[string]*booked{}
	}
	for i, q := range after {
		if q != before[i] {
			ln.known[q.Name] = &booked{q.ResourceQuota, revision}
		}
	}
	for _, e := range pending {
		e.finish(revision, nil)
	}
	return false, nil
}

func (l *Ledger) op(q *booked) (store.Op, error) {
	kind, quotas := l.objects.Resource(corev1.Resource("resourcequotas"))
	if quotas == nil {
		return store.Op{}, errors.New("resourcequotas are not served")
	}
	value, err := codec.Store(kind, q.ResourceQuota)
	if err != nil {
		return store.Op{}, fmt.Errorf("encode a quota: %w", err)
	}
	return store.Op{Key: quotas.Key(q.Namespace, q.Name), Value: value, Expected: q.revision}, nil
}

// quotas returns a namespace's quotas as they are stored, or as known when that is newer.
func (l *Ledger) quotas(ctx context.Context, namespace string, known map[string]*booked) ([]*booked, error) {
	collection, err := l.objects.Settled(ctx, gvkQuota)
	if err != nil || collection == nil {
		return nil, err
	}
	kind, _ := l.objects.Resource(corev1.Resource("resourcequotas"))
	var out []*booked
	for _, e := range collection.List(watch.Query{Namespace: namespace}).Entries {
		if k := known[e.Name]; k != nil && k.revision >= e.Revision {
			out = append(out, k)
			continue
		}
		obj, err := codec.Load(kind, e.Value, e.Revision)
		if err != nil {
			return nil, fmt.Errorf("read quota %s/%s: %w", e.Namespace, e.Name, err)
		}
		out = append(out, &booked{obj.(*corev1.ResourceQuota), e.Revision})
	}
	return out, nil
}

// measureSome measures the quotas that the batch asks for, and those that nobody has measured yet: a quota holds from
// its first moment.
func (l *Ledger) measureSome(ctx context.Context, quotas []*booked, batch []*entry) ([]*booked, error) {
	asked := map[string]*entry{}
	for _, e := range batch {
		if e.measure != "" && !e.done {
			asked[e.measure] = e
		}
	}
	out, synced := append([]*booked(nil), quotas...), false
	for i, q := range quotas {
		e := asked[q.Name]
		if e == nil && measured(q.ResourceQuota) {
			continue
		}
		if !synced {
			if err := l.objects.Sync(ctx); err != nil {
				return nil, err
			}
			synced = true
		}
		now, again, err := l.measure(q, time.Now())
		if err != nil {
			return nil, err
		}
		if e != nil {
			e.again = again
		}
		if !measured(q.ResourceQuota) || !same(now.Status.Used, q.Status.Used) {
			out[i] = now
		}
	}
	return out, nil
}
