package server

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/quota"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/watch"
)

var _ quota.Objects = (*Server)(nil)

// write is what the quotas' ledger is told of obj, which is to take the place of what is stored in it; nil for a create.
func (r *request) write(obj registry.Object, it *item) *quota.Write {
	w := &quota.Write{Kind: r.Kind, Subresource: r.subresource, Namespace: r.namespace, Name: r.name, Object: obj}
	if it != nil {
		base := item{value: it.value, revision: it.revision}
		w.Old = func() (registry.Object, error) { return base.object(r.Kind) }
	}
	return w
}

// commitChange commits what a change makes of an object. What is deleted is not charged.
func (s *Server) commitChange(ctx context.Context, r *request, out Outcome, it item, ops []store.Op) (revision int64, err error) {
	if out.Remove {
		revision, err = s.store.Commit(ctx, ops...)
	} else {
		revision, err = s.config.Ledger.Commit(ctx, r.write(out.Next, &it), ops...)
	}
	if err == nil {
		r.noteWritten(revision)
	}
	return revision, err
}

// checkCharge says whether the quotas would refuse a change.
func (s *Server) checkCharge(ctx context.Context, r *request, out Outcome, it item) error {
	if out.Remove {
		return nil
	}
	return s.config.Ledger.Check(ctx, r.write(out.Next, &it))
}

// storeError is a failed commit's error: what refuses the write speaks for itself.
func (r *request) storeError(err error) error {
	var refused apierrors.APIStatus
	if errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("store %s: %w", r.Resource, err)
}

// noteWritten remembers how new the cache must be to know of everything that this process has written of a kind.
func (sv *served) noteWritten(revision int64) {
	for {
		newest := sv.written.Load()
		if revision <= newest || sv.written.CompareAndSwap(newest, revision) {
			return
		}
	}
}

// Settled implements quota.Objects: what was written here is known, what another replica has written will be in a moment.
func (s *Server) Settled(ctx context.Context, gvk schema.GroupVersionKind) (*watch.Collection, error) {
	sv, ok := s.lookup(gvk)
	if !ok || sv.collection == nil {
		return nil, nil
	}
	written := sv.written.Load()
	if s.cache.Revision() >= written {
		return sv.collection, nil
	}
	if err := s.cache.WaitFor(ctx, written); err != nil {
		return nil, s.cacheErrorAt(err, written)
	}
	return sv.collection, nil
}

// Resource implements quota.Objects.
func (s *Server) Resource(gr schema.GroupResource) (*registry.Kind, *watch.Collection) {
	for _, sv := range s.kinds.Load().order {
		if sv.Group == gr.Group && sv.Kind.Resource == gr.Resource && sv.collection != nil {
			return sv.Kind, sv.collection
		}
	}
	return nil, nil
}

// Served finds a kind that is served.
func (s *Server) Served(gvk schema.GroupVersionKind) (*registry.Kind, bool) {
	sv, ok := s.lookup(gvk)
	if !ok {
		return nil, false
	}
	return sv.Kind, true
}

// KindsChanged implements quota.Objects.
func (s *Server) KindsChanged() <-chan struct{} { return s.kinds.Load().replaced }
