package server

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/registry"
)

// writer is how an update of the main resource, or of a subresource that has its form, meets the stored object.
type writer struct {
	prepare func(obj, old registry.Object)
	// validate checks what is particular to the part; nil: the object is validated as a whole.
	validate func(obj, old registry.Object) field.ErrorList
}

func (r *request) writer() (writer, error) {
	switch r.subresource {
	case "":
		return writer{prepare: r.PrepareUpdate}, nil
	case "status":
		if r.PrepareStatus != nil {
			return writer{prepare: r.PrepareStatus, validate: r.ValidateStatus}, nil
		}
		return writer{}, errUnknownKind()
	}
	sub := r.declared()
	if sub == nil {
		return writer{}, errUnknownKind()
	}
	if sub.Prepare == nil {
		return writer{}, apierrors.NewMethodNotSupported(r.groupResource(), "update")
	}
	return writer{prepare: sub.Prepare, validate: sub.Validate}, nil
}

// declared returns the registry's entry of the request's subresource.
func (r *request) declared() *registry.Subresource {
	for i := range r.Subresources {
		if r.Subresources[i].Name == r.subresource {
			return &r.Subresources[i]
		}
	}
	return nil
}

// subCreators are the subresources that are created, by "resource/subresource".
var subCreators = map[string]func(s *Server, ctx context.Context, r *request, req *apiv1.CreateRequest) (*apiv1.Result, error){
	"pods/binding":          (*Server).bind,
	"pods/eviction":         (*Server).evict,
	"serviceaccounts/token": (*Server).requestToken,
}

func (s *Server) createSubresource(ctx context.Context, r *request, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	if r.name == "" {
		return nil, apierrors.NewBadRequest("name must be provided")
	}
	create := subCreators[r.Resource+"/"+r.subresource]
	if create == nil {
		if r.declared() == nil && r.subresource != "status" && r.subresource != "scale" {
			return nil, errUnknownKind()
		}
		return nil, apierrors.NewMethodNotSupported(r.groupResource(), "create")
	}
	res, err := create(s, ctx, r, req)
	if err == nil {
		res.Created = true
	}
	return res, err
}

// done is the answer to a creating subresource that has nothing to show.
func (r *request) done(as *apiv1.Representation) (*apiv1.Result, error) {
	env, err := encodeObject(gvkStatus, &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, as)
	return &apiv1.Result{Object: env, Warnings: r.allWarnings()}, err
}
