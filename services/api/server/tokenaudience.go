package server

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/api/authz"
)

// verbAudience is the right of a node to ask for tokens for an audience that its pod does not name.
const verbAudience = "request-serviceaccounts-token-audience"

// checkAudience refuses a node a token for an audience that the pod's volumes do not ask for: who breaks into a node gets
// at what its pods could get at, and at nothing else. Audiences are as the node asked, before defaults.
func (s *Server) checkAudience(ctx context.Context, r *request, pod *corev1.Pod, audiences []string) error {
	refuse := func(err error) error { return apierrors.NewForbidden(r.groupResource(), r.name, err) }
	wanted := ""
	switch len(audiences) {
	case 0:
	case 1:
		wanted = audiences[0]
	default:
		return refuse(errors.New("node may only request 0 or 1 audiences"))
	}
	if namesAudience(pod, wanted) {
		return nil
	}
	allowed, _, err := s.config.Authorizer.Authorize(ctx, authz.Attributes{
		User: r.user, Verb: verbAudience, Version: "v1", Resource: wanted, Namespace: r.namespace, Name: r.name,
	})
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("authorize: %w", err))
	}
	if !allowed {
		return refuse(fmt.Errorf("audience %q not found in pod spec volume", wanted))
	}
	return nil
}

// namesAudience reports whether a volume of a pod holds a token for an audience; empty is the API.
func namesAudience(pod *corev1.Pod, audience string) bool {
	for i := range pod.Spec.Volumes {
		projected := pod.Spec.Volumes[i].Projected
		if projected == nil {
			continue
		}
		for _, source := range projected.Sources {
			if t := source.ServiceAccountToken; t != nil && t.Audience == audience {
				return true
			}
		}
	}
	return false
}
