package server

import (
	"bytes"
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/store"
)

// Outcome is what a change makes of an object.
type Outcome struct {
	// Next is what to store or, with Remove, the last state of what is deleted.
	Next   registry.Object
	Remove bool
}

// changed is the outcome as it is in the store.
type changed struct {
	item
	removed bool
}

// modify reads an object, lets fn decide what becomes of it, and stores that if nobody else was faster; else it
// begins again. The object may come from the cache first, so a refusal of fn counts only when the object is the
// newest. fn may be called several times and may keep or change old. A change that changes nothing is not stored.
func (s *Server) modify(ctx context.Context, r *request, dryRun bool, fn func(old registry.Object) (Outcome, error)) (changed, error) {
	it, cached, err := s.recent(ctx, r)
	for err == nil {
		done, raced, refusal := s.attempt(ctx, r, it, dryRun, fn)
		// Neither a refusal nor "nothing changes" is certain of an object that may not be the newest.
		certain := !cached || refusal == nil && done.entry == nil
		if certain && !raced {
			return done, refusal
		}
		if ctx.Err() != nil {
			return changed{}, ctx.Err()
		}
		var fresh item
		if fresh, err = s.fetch(ctx, r); err == nil && !raced && fresh.revision == it.revision {
			return done, refusal
		}
		it, cached = fresh, false
	}
	return changed{}, err
}

// attempt tries to change the object as it stands. Raced tells that somebody else was faster.
func (s *Server) attempt(ctx context.Context, r *request, it item, dryRun bool, fn func(old registry.Object) (Outcome, error)) (done changed, raced bool, err error) {
	base := item{value: it.value, revision: it.revision}
	old, err := base.object(r.Kind)
	if err != nil {
		return done, false, err
	}
	r.base = it.entry
	// Stored bytes have no place for some of what defaults say (the kind of a claim template): without it, every change
	// would seem to change that too.
	r.Default(old)
	out, err := fn(old)
	if err != nil {
		return done, false, err
	}
	if !out.Remove && finished(out.Next) {
		out.Remove = true
	}
	side, err := s.planChange(ctx, r, out, it)
	if err != nil {
		return done, false, err
	}
	value, err := codec.Store(r.Kind, out.Next)
	if err != nil {
		return done, false, internal(err)
	}
	if !out.Remove && bytes.Equal(value, it.value) {
		return changed{item: it}, false, nil
	}
	done = changed{item: item{value: value, revision: it.revision, obj: out.Next}, removed: out.Remove}
	if dryRun {
		return done, false, s.checkCharge(ctx, r, out, it)
	}
	op := store.Op{Key: r.key(), Value: value, Expected: it.revision}
	if out.Remove {
		op.Value = nil
	}
	revision, err := s.commitChange(ctx, r, out, it, append([]store.Op{op}, side...))
	var failed *store.FailedOpError
	if errors.As(err, &failed) {
		if failed.Index > 0 {
			// A hook lost a race: let it see what the others have taken.
			return done, true, s.Sync(ctx)
		}
		return done, true, nil
	}
	if err != nil {
		return done, false, r.storeError(err)
	}
	done.revision, done.stored = revision, !out.Remove
	out.Next.SetResourceVersion(codec.FormatRevision(revision))
	return done, false, nil
}

func (s *Server) planChange(ctx context.Context, r *request, out Outcome, it item) ([]store.Op, error) {
	if s.config.Hooks[r.GroupKind()] == nil {
		return nil, nil
	}
	// The hook gets the object as it is stored: fn may have changed the copy that it was given.
	base := item{value: it.value, revision: it.revision}
	old, err := base.object(r.Kind)
	if err != nil {
		return nil, err
	}
	if out.Remove {
		return s.plan(ctx, r, nil, old)
	}
	return s.plan(ctx, r, out.Next, old)
}

// finished reports whether nothing keeps a terminating object any more.
func finished(obj registry.Object) bool {
	if obj.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if grace := obj.GetDeletionGracePeriodSeconds(); grace != nil && *grace > 0 {
		return false
	}
	ns, ok := obj.(*corev1.Namespace)
	return !ok || len(ns.Spec.Finalizers) == 0
}
