package server

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
)

// Virtual serves a kind that is not stored.
type Virtual interface {
	// New returns an empty object.
	New() runtime.Object
	// Answer completes the object that a user posted.
	Answer(ctx context.Context, user identity.User, namespace string, obj runtime.Object) error
}

// TokenSigner makes service-account tokens.
type TokenSigner interface{}

type subCreator func(s *Server, ctx context.Context, r *request, req *apiv1.CreateRequest) (*apiv1.Result, error)

var subCreators = map[string]subCreator{}

func (s *Server) createSubresource(ctx context.Context, r *request, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	if r.name == "" {
		return nil, apierrors.NewBadRequest("name must be provided")
	}
	create, ok := subCreators[r.Resource+"/"+r.subresource]
	if !ok {
		if r.hasSubresource() || r.subresource == "status" || r.subresource == "scale" {
			return nil, apierrors.NewMethodNotSupported(r.groupResource(), "create")
		}
		return nil, errUnknownKind()
	}
	return create(s, ctx, r, req)
}

func (s *Server) createVirtual(ctx context.Context, r *request, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	return nil, apierrors.NewMethodNotSupported(r.groupResource(), "create")
}
