package server

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// DeleteCollection implements ResourceService. It goes on past objects that are gone already.
func (s *Server) DeleteCollection(ctx context.Context, req *apiv1.DeleteCollectionRequest) (res *apiv1.Result, err error) {
	r, err := s.begin(ctx, req.GetRef(), "deletecollection", req.GetFieldSelector())
	if err != nil {
		return nil, err
	}
	defer func() { err = r.warned(err) }()
	if err := checkDelete(req.GetOptions()); err != nil {
		return nil, err
	}
	predicate, err := r.predicate(req.GetLabelSelector(), req.GetFieldSelector(), r.name)
	if err != nil {
		return nil, err
	}
	if err := s.freshen(ctx, ""); err != nil {
		return nil, err
	}
	page := r.collection.List(watch.Query{Namespace: r.namespace, Predicate: predicate})
	if err := s.removeAll(ctx, r, page.Entries, req.GetOptions()); err != nil {
		return nil, err
	}
	env, err := r.encodeList(metav1.ListMeta{ResourceVersion: codec.FormatRevision(page.Revision)}, page.Entries, req.GetAs())
	if err != nil {
		return nil, err
	}
	return &apiv1.Result{Object: env, Warnings: r.allWarnings()}, nil
}

// removeAll deletes many objects in few commits.
func (s *Server) removeAll(ctx context.Context, r *request, entries []*watch.Entry, o *apiv1.DeleteOptions) error {
	r.options = deleteOptions(o)
	changes, requests := make([]Change, len(entries)), make([]request, len(entries))
	for i, e := range entries {
		one := &requests[i]
		*one = *r
		one.namespace, one.name = e.Namespace, e.Name
		changes[i] = Change{Namespace: e.Namespace, Name: e.Name, Do: func(old registry.Object) (Outcome, error) { return s.decideRemoval(ctx, one, old, o) }}
	}
	if o.GetDryRun() {
		return nil
	}
	for i, err := range s.Batch(ctx, r.GroupVersionKind, changes) {
		r.warn(requests[i].tryWarnings...)
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
