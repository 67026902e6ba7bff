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

// settleTries bounds how often a batch begins anew because somebody else has written a quota.
const settleTries = 32

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
	for try := 0; try < settleTries; {
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
	ops, err := l.quotaOps(before, after)
	if err != nil {
		return false, err
	}
	own := len(ops)
	for _, e := range pending {
		ops = append(ops, e.ops...)
	}
	var revision int64
	if len(ops) > 0 {
		revision, err = l.store.Commit(ctx, ops...)
	}
	var failed *store.FailedOpError
	switch {
	case errors.As(err, &failed) && failed.Index < own:
		return true, nil
	case errors.As(err, &failed):
		blame(pending, failed, failed.Index-own)
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

// blame finishes the write whose expectation did not hold; at is the op's place among all writes' ops.
func blame(pending []*entry, failed *store.FailedOpError, at int) {
	for _, e := range pending {
		if at < len(e.ops) {
			e.finish(0, &store.FailedOpError{Index: at, Key: failed.Key, Err: failed.Err})
			return
		}
		at -= len(e.ops)
	}
}

// quotaOps are the ops that store what has changed of the quotas.
func (l *Ledger) quotaOps(before, after []*booked) (ops []store.Op, err error) {
	for i, q := range after {
		if q == before[i] {
			continue
		}
		op, err := l.op(q)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
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
