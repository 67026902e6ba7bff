package server

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/registry"
)

// Insert creates an object on behalf of the API service itself, without authorization.
func (s *Server) Insert(ctx context.Context, obj registry.Object) error {
	gvk, err := KindOf(obj)
	if err != nil {
		return err
	}
	return s.InsertAs(ctx, gvk, obj)
}

// InsertAs is Insert for objects whose types the scheme does not know.
func (s *Server) InsertAs(ctx context.Context, gvk schema.GroupVersionKind, obj registry.Object) error {
	r, err := s.own(gvk, obj)
	if err != nil {
		return err
	}
	// After a start the cache may still be catching up with what is stored.
	if err := s.Sync(ctx); err != nil {
		return err
	}
	if _, ok := r.collection.Get(r.namespace, r.name); ok {
		return errExists(r)
	}
	_, err = s.insertNamed(ctx, r, obj, false)
	return err
}

// KindOf returns the kind under which the scheme knows obj's type.
func KindOf(obj registry.Object) (schema.GroupVersionKind, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("kind of %T: %w", obj, err)
	}
	return kinds[0], nil
}

// own is a request of the API service itself about obj.
func (s *Server) own(gvk schema.GroupVersionKind, obj registry.Object) (*request, error) {
	sv, ok := s.lookup(gvk)
	if !ok {
		return nil, errUnknownKind()
	}
	return &request{
		served: sv, namespace: obj.GetNamespace(), name: obj.GetName(), now: time.Now(),
		user: identity.User{Name: identity.UserAPI, Groups: []string{identity.GroupMasters}},
	}, nil
}
