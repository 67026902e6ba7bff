package server

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

// DeleteCollection implements ResourceService. It goes on past objects that are gone already.
func (s *Server) DeleteCollection(ctx context.Context, req *apiv1.DeleteCollectionRequest) (*apiv1.Result, error) {
	r, err := s.begin(ctx, req.GetRef(), "deletecollection", req.GetFieldSelector())
	if err != nil {
		return nil, err
	}
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
	for _, e := range page.Entries {
		one := *r
		one.namespace, one.name = e.Namespace, e.Name
		if _, err := s.remove(ctx, &one, req.GetOptions()); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	env, err := r.encodeList(metav1.ListMeta{ResourceVersion: codec.FormatRevision(page.Revision)}, page.Entries, req.GetAs())
	if err != nil {
		return nil, err
	}
	return &apiv1.Result{Object: env, Warnings: r.allWarnings()}, nil
}
