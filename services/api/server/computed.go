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

// Source finds out the objects of a kind that is not stored, whenever somebody reads them.
type Source interface {
	// Objects returns those of a namespace and name; empty stands for all. The chosen ones are enough, others do no harm.
	Objects(ctx context.Context, namespace, name string, chosen watch.Predicate) ([]registry.Object, error)
}

// source returns where a kind's objects come from; nil for kinds that are stored and those that only take questions.
func (s *Server) source(k *registry.Kind) Source {
	if !k.Computed {
		return nil
	}
	return s.config.Sources[k.GroupVersionKind.GroupKind()]
}

// getComputed answers Get from a source.
func (s *Server) getComputed(ctx context.Context, r *request, as *apiv1.Representation) (*apiv1.Result, error) {
	entries, err := s.computed(ctx, r, watch.Predicate{})
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, r.notFound()
	}
	it := entryItem(entries[0])
	return r.answer(&it, as)
}

// listComputed answers List from a source.
func (s *Server) listComputed(ctx context.Context, r *request, predicate watch.Predicate, as *apiv1.Representation) (*apiv1.Result, error) {
	entries, err := s.computed(ctx, r, predicate)
	if err != nil {
		return nil, err
	}
	env, err := r.encodeList(metav1.ListMeta{ResourceVersion: codec.FormatRevision(s.cache.Revision())}, entries, as)
	if err != nil {
		return nil, err
	}
	return &apiv1.Result{Object: env, Warnings: r.allWarnings()}, nil
}

// computed asks the source, and gives what it answers the form in which objects are stored: from there on they are like
// all others.
func (s *Server) computed(ctx context.Context, r *request, predicate watch.Predicate) ([]*watch.Entry, error) {
	source := s.source(r.Kind)
	if source == nil {
		return nil, errUnknownKind()
	}
	objects, err := source.Objects(ctx, r.namespace, r.name, predicate)
	if err != nil {
		return nil, err
	}
	revision := s.cache.Revision()
	entries := make([]*watch.Entry, 0, len(objects))
	for _, obj := range objects {
		if r.namespace != "" && obj.GetNamespace() != r.namespace || r.name != "" && obj.GetName() != r.name {
			continue
		}
		value, err := codec.Encode(r.GroupVersionKind, obj)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		e := watch.NewEntry(obj.GetNamespace(), obj.GetName(), value, revision, obj.GetLabels())
		if predicate.Matches(e) {
			entries = append(entries, e)
		}
	}
	return entries, nil
}
