package server

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/managedfields"
	"karve.dev/karve/services/api/registry"
)

// applyTries bounds how often an apply begins anew because the object came or went meanwhile.
const applyTries = 5

// apply is a Patch by server-side apply: the object is made when it is not there.
func (s *Server) apply(ctx context.Context, r *request, req *apiv1.PatchRequest, strict strictness) (*apiv1.Result, error) {
	if err := managedfields.Options(r.manager, req.GetForce()); err != nil {
		return nil, err
	}
	patch, err := r.parseApply(req.GetPatch(), strict)
	if err != nil {
		return nil, err
	}
	r.applied = true
	if r.subresource == "scale" {
		return s.applyScale(ctx, r, req, patch)
	}
	write, err := r.writer()
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		done, found, err := s.applyTo(ctx, r, write, patch, req)
		if apierrors.IsNotFound(err) && !found && r.subresource == "" {
			done.item, err = s.applyNew(ctx, r, patch, req)
			if apierrors.IsAlreadyExists(err) && !req.GetOptions().GetDryRun() && try < applyTries {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		res, err := r.answer(&done.item, req.GetAs())
		if err == nil {
			res.Created = !found
		}
		return res, err
	}
}

// parseApply reads what an apply wants; what strict parsing finds becomes an error or warnings.
func (r *request) parseApply(data []byte, strict strictness) (*managedfields.Patch, error) {
	if len(data) > maxBody {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	patch, found, err := managedfields.ParsePatch(data)
	if err != nil {
		return nil, err
	}
	if strict == strictUnknown && len(found) > 0 {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", runtime.NewStrictDecodingError(found)))
	}
	if strict == warnUnknown {
		for _, e := range found {
			r.warn(e.Error())
		}
	}
	return patch, nil
}

// applyTo applies to an object that is there; found tells whether it was.
func (s *Server) applyTo(ctx context.Context, r *request, write writer, patch *managedfields.Patch, req *apiv1.PatchRequest) (done changed, found bool, err error) {
	dryRun := req.GetOptions().GetDryRun()
	done, err = s.modify(ctx, r, dryRun, func(old registry.Object) (Outcome, error) {
		found = true
		obj, err := s.applied(ctx, r, old.DeepCopyObject().(registry.Object), patch, req.GetForce())
		if err != nil {
			return Outcome{}, err
		}
		return s.replace(ctx, r, write, obj, old, dryRun)
	})
	return done, found, err
}

// applied merges the patch into live and checks that the result is the object that the request names.
func (s *Server) applied(ctx context.Context, r *request, live registry.Object, patch *managedfields.Patch, force bool) (registry.Object, error) {
	obj, err := s.config.Fields.Apply(r.recorded(ctx), live, patch, force)
	if err != nil {
		return nil, err
	}
	if err := r.matchNamespace(obj); err != nil {
		return nil, err
	}
	if obj.GetName() != r.name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), r.name))
	}
	return obj, nil
}

// applyNew makes an object out of what is applied.
func (s *Server) applyNew(ctx context.Context, r *request, patch *managedfields.Patch, req *apiv1.PatchRequest) (item, error) {
	attrs := authz.Attributes{User: r.user, Verb: "create", Group: r.Group, Version: r.Version, Resource: r.Resource, Namespace: r.namespace, Name: r.name}
	if err := s.authorize(ctx, attrs); err != nil {
		return item{}, err
	}
	if uid := patch.UID(); uid != "" {
		return item{}, apierrors.NewConflict(r.groupResource(), r.name,
			fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", uid))
	}
	if patch.ResourceVersion() != "" {
		return item{}, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	obj, err := s.applied(ctx, r, r.New(), patch, req.GetForce())
	if err != nil {
		return item{}, err
	}
	return s.insert(ctx, r, withoutSystemFields(obj), req.GetOptions().GetDryRun())
}

// applyScale applies the replicas of a Scale to the object that is scaled.
func (s *Server) applyScale(ctx context.Context, r *request, req *apiv1.PatchRequest, patch *managedfields.Patch) (*apiv1.Result, error) {
	if err := r.checkScale(); err != nil {
		return nil, err
	}
	patch, err := patch.OfScaled(r.Kind)
	if err != nil {
		return nil, err
	}
	main := *r
	main.subresource, main.part = "", "scale"
	done, _, err := s.applyTo(ctx, &main, writer{prepare: r.PrepareUpdate}, patch, req)
	if err != nil {
		return nil, err
	}
	return r.answerScale(&done.item, req.GetAs())
}

// recordCreate and recordUpdate keep the record of what is written otherwise than by an apply, which does it itself.
func (s *Server) recordCreate(ctx context.Context, r *request, obj registry.Object) {
	if !r.applied {
		s.config.Fields.Created(r.recorded(ctx), obj)
	}
}

func (s *Server) recordUpdate(ctx context.Context, r *request, obj, old registry.Object) {
	if !r.applied {
		s.config.Fields.Updated(r.recorded(ctx), obj, old)
	}
}

// agentKey is the metadata by which the gateway tells the User-Agent of a client that names no field manager.
const agentKey = "x-remote-user-agent"

// recorded is the write as the record of managed fields knows it. Who gives no name is known by his User-Agent.
func (r *request) recorded(ctx context.Context) managedfields.Write {
	w := managedfields.Write{Kind: r.Kind, Subresource: r.subresource + r.part, Manager: r.manager}
	w.Starts = r.manager != "" && !component(r.user)
	if w.Manager != "" {
		return w
	}
	if agent := metadata.ValueFromIncomingContext(ctx, agentKey); len(agent) > 0 {
		w.Manager = managedfields.ManagerOf(agent[0])
	}
	return w
}

// component reports whether a user is a part of the cluster itself: what controllers and nodes make by the thousand is
// nobody's configuration, and goes without a record until somebody applies it.
func component(u identity.User) bool {
	return strings.HasPrefix(u.Name, "system:") && u.Name != identity.UserAnonymous && !strings.HasPrefix(u.Name, "system:serviceaccount:")
}
