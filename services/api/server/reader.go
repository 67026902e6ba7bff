package server

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

var _ admission.Reader = (*Server)(nil)

// Read implements admission.Reader: from the cache, or from the store when the cache has nothing by that name.
func (s *Server) Read(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (registry.Object, error) {
	sv, ok := s.lookup(gvk)
	if !ok || sv.collection == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, name)
	}
	// Pods are written all the time, and nobody decides here by what was written into one a moment ago.
	if gvk.Kind != "Pod" {
		if _, err := s.Settled(ctx, gvk); err != nil {
			return nil, err
		}
	}
	r := &request{served: sv, namespace: namespace, name: name}
	it, _, err := s.recent(ctx, r)
	if err != nil {
		return nil, err
	}
	return it.object(sv.Kind)
}

// ReadAll implements admission.Reader.
func (s *Server) ReadAll(ctx context.Context, gvk schema.GroupVersionKind, namespace string) ([]registry.Object, error) {
	collection, err := s.Settled(ctx, gvk)
	if err != nil || collection == nil || collection.Len() == 0 {
		return nil, err
	}
	sv, ok := s.lookup(gvk)
	if !ok {
		return nil, nil
	}
	page := collection.List(watch.Query{Namespace: namespace})
	out := make([]registry.Object, len(page.Entries))
	for i, e := range page.Entries {
		it := entryItem(e)
		if out[i], err = it.object(sv.Kind); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Sync returns when the cache has everything that was acknowledged before the call.
func (s *Server) Sync(ctx context.Context) error { return s.freshen(ctx, "") }

// Collection returns where the cache holds a kind's objects; nil when it is not served or not stored.
func (s *Server) Collection(gvk schema.GroupVersionKind) *watch.Collection {
	sv, ok := s.lookup(gvk)
	if !ok {
		return nil
	}
	return sv.collection
}

var _ admission.Awaiter = (*Server)(nil)

// Await implements admission.Awaiter.
func (s *Server) Await(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (registry.Object, error) {
	sv, ok := s.lookup(gvk)
	if !ok || sv.collection == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, name)
	}
	w, err := sv.collection.Watch(ctx, watch.WatchOptions{
		Namespace: namespace, SendInitial: true,
		Predicate: watch.Predicate{Fields: fields.OneTermEqualSelector("metadata.name", name)},
	})
	if err != nil {
		return nil, s.cacheError(err)
	}
	defer w.Stop()
	for {
		events, err := w.Next(ctx)
		if ctx.Err() != nil {
			return nil, apierrors.NewNotFound(schema.GroupResource{Group: gvk.Group, Resource: sv.Kind.Resource}, name)
		}
		if err != nil {
			return nil, s.cacheError(err)
		}
		for _, ev := range events {
			if ev.Type == watch.Added || ev.Type == watch.Modified {
				it := entryItem(ev.Entry)
				return it.object(sv.Kind)
			}
		}
	}
}
