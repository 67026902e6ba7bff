package server

import (
	"context"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
)

var gvkScale = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// scaleOf is the Scale of an object.
func (r *request) scaleOf(obj registry.Object) *autoscalingv1.Scale {
	out := &autoscalingv1.Scale{}
	out.Name, out.Namespace, out.UID = obj.GetName(), obj.GetNamespace(), obj.GetUID()
	out.ResourceVersion, out.CreationTimestamp = obj.GetResourceVersion(), obj.GetCreationTimestamp()
	out.Spec.Replicas, out.Status.Replicas, out.Status.Selector = r.Scale.Get(obj)
	return out
}

func (r *request) checkScale() error {
	if r.Scale == nil {
		return errUnknownKind()
	}
	return nil
}

func (r *request) answerScale(it *item, as *apiv1.Representation) (*apiv1.Result, error) {
	if err := r.checkScale(); err != nil {
		return nil, err
	}
	obj, err := it.object(r.Kind)
	if err != nil {
		return nil, err
	}
	env, err := r.encodeScale(r.scaleOf(obj), as)
	return &apiv1.Result{Object: env, Warnings: r.allWarnings()}, err
}

func (s *Server) updateScale(ctx context.Context, r *request, req *apiv1.UpdateRequest) (*apiv1.Result, error) {
	if err := r.checkScale(); err != nil {
		return nil, err
	}
	strict, err := strictnessOf(req.GetOptions())
	if err != nil {
		return nil, err
	}
	body := &autoscalingv1.Scale{}
	if err := r.decodeBody(req.GetObject(), gvkScale, body, strict); err != nil {
		return nil, err
	}
	return s.rescale(ctx, r, req.GetOptions().GetDryRun(), req.GetAs(), func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return body, nil })
}

func (s *Server) patchScale(ctx context.Context, r *request, req *apiv1.PatchRequest, strict strictness) (*apiv1.Result, error) {
	if err := r.checkScale(); err != nil {
		return nil, err
	}
	apply, err := newPatch(req, func() registry.Object { return &autoscalingv1.Scale{} })
	if err != nil {
		return nil, err
	}
	return s.rescale(ctx, r, req.GetOptions().GetDryRun(), req.GetAs(), func(old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		original, err := codec.EncodeJSON(gvkScale, old)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		out := &autoscalingv1.Scale{}
		return out, r.patchInto(out, original, gvkScale, apply, strict)
	})
}

// rescale writes the replicas of the Scale that want returns, as an update of the object that is scaled.
func (s *Server) rescale(ctx context.Context, r *request, dryRun bool, as *apiv1.Representation, want func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (*apiv1.Result, error) {
	main := *r
	main.subresource, main.part = "", "scale"
	write := writer{prepare: r.PrepareUpdate}
	done, err := s.modify(ctx, &main, dryRun, func(old registry.Object) (Outcome, error) {
		scale, err := want(r.scaleOf(old))
		if err != nil {
			return Outcome{}, err
		}
		if scale.Spec.Replicas < 0 {
			bad := field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0")
			return Outcome{}, apierrors.NewInvalid(schema.GroupKind{Group: gvkScale.Group, Kind: gvkScale.Kind}, r.name, field.ErrorList{bad})
		}
		if err := s.admitPart(ctx, r, admission.Update, gvkScale, scale, r.scaleOf(old), dryRun); err != nil {
			return Outcome{}, err
		}
		warned := r.tryWarnings
		obj := old.DeepCopyObject().(registry.Object)
		obj.SetResourceVersion(scale.ResourceVersion)
		if scale.UID != "" {
			obj.SetUID(scale.UID)
		}
		r.Scale.Set(obj, scale.Spec.Replicas)
		out, err := s.replace(ctx, &main, write, obj, old, dryRun)
		r.tryWarnings = warned
		return out, err
	})
	if err != nil {
		return nil, err
	}
	return r.answerScale(&done.item, as)
}
