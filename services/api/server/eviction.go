package server

import (
	"context"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/admission"
)

var gvkEviction = policyv1.SchemeGroupVersion.WithKind("Eviction")

// evict deletes a pod if its disruption budgets allow.
func (s *Server) evict(ctx context.Context, r *request, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	strict, err := strictnessOf(req.GetOptions())
	if err != nil {
		return nil, err
	}
	eviction := &policyv1.Eviction{}
	if err := r.decodeBody(req.GetObject(), gvkEviction, eviction, strict); err != nil {
		return nil, err
	}
	if eviction.Name != "" && eviction.Name != r.name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	options := evictionOptions(eviction, req.GetOptions().GetDryRun())
	if err := checkDelete(options); err != nil {
		return nil, err
	}
	if err := s.admitPart(ctx, r, admission.Create, gvkEviction, eviction, nil, options.GetDryRun()); err != nil {
		return nil, err
	}
	if err := s.removeGuarded(ctx, r, options); err != nil {
		return nil, err
	}
	return r.done(req.GetAs())
}

func evictionOptions(eviction *policyv1.Eviction, dryRun bool) *apiv1.DeleteOptions {
	options := &apiv1.DeleteOptions{DryRun: dryRun}
	if o := eviction.DeleteOptions; o != nil {
		options.GracePeriodSeconds = o.GracePeriodSeconds
		options.DryRun = options.DryRun || len(o.DryRun) > 0
		if o.PropagationPolicy != nil {
			options.PropagationPolicy = string(*o.PropagationPolicy)
		}
		if p := o.Preconditions; p != nil {
			if p.UID != nil {
				options.PreconditionUid = string(*p.UID)
			}
			if p.ResourceVersion != nil {
				options.PreconditionResourceVersion = *p.ResourceVersion
			}
		}
	}
	return options
}
