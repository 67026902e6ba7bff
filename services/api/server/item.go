package server

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/watch"
)

// item is one object at one revision on its way to a client. Obj is set where somebody has decoded it already, entry
// where it comes from the cache, whose encodings are shared.
type item struct {
	value    []byte
	revision int64
	entry    *watch.Entry
	obj      registry.Object
	// stored: this call has just written it.
	stored bool
	// err is why the cache could not read the object.
	err error
}

func entryItem(e *watch.Entry) item {
	return item{value: e.Value, revision: e.Revision, entry: e, err: e.Err}
}

// object returns the decoded object, which belongs to the caller of the first call.
func (it *item) object(k *registry.Kind) (registry.Object, error) {
	if it.obj != nil {
		return it.obj, nil
	}
	if it.err != nil {
		return nil, apierrors.NewInternalError(it.err)
	}
	obj, err := codec.Load(k, it.value, it.revision)
	if err != nil {
		return nil, internal(err)
	}
	it.obj = obj
	return obj, nil
}

// internal is an error of the server's own; what refuses a conversion speaks for itself.
func internal(err error) error {
	var known *apierrors.StatusError
	if errors.As(err, &known) {
		return known
	}
	return apierrors.NewInternalError(err)
}

// raw returns the object's own protobuf bytes.
func (it *item) raw() ([]byte, error) {
	if it.err != nil {
		return nil, apierrors.NewInternalError(it.err)
	}
	raw, isProto, err := codec.Raw(it.value)
	if err == nil && !isProto {
		err = errors.New("the stored value is not protobuf")
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return raw, nil
}

// fetch reads an object from the store, where nothing is newer.
func (s *Server) fetch(ctx context.Context, r *request) (item, error) {
	kv, err := s.store.Get(ctx, r.key())
	if errors.Is(err, store.ErrNotFound) {
		return item{}, r.notFound()
	}
	if err != nil {
		return item{}, fmt.Errorf("read %s: %w", r.Resource, err)
	}
	return item{value: kv.Value, revision: kv.Revision}, nil
}

// recent reads an object from the cache, or from the store when the cache does not have it (yet). Cached tells which.
func (s *Server) recent(ctx context.Context, r *request) (it item, cached bool, err error) {
	if e, ok := r.collection.Get(r.namespace, r.name); ok {
		return entryItem(e), true, nil
	}
	it, err = s.fetch(ctx, r)
	return it, false, err
}
