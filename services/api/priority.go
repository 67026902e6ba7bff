package api

import (
	"context"
	"fmt"

	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/admission"
)

// ensurePriorities makes the priority classes of the cluster's own pods.
func (s *Server) ensurePriorities(ctx context.Context) error {
	if s.resources.Collection(schedulingv1.SchemeGroupVersion.WithKind("PriorityClass")) == nil {
		return nil
	}
	for _, c := range admission.SystemPriorities {
		class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: c.Name}, Value: c.Value, Description: c.Description}
		if err := s.ensure(ctx, class); err != nil {
			return fmt.Errorf("make priority class %s: %w", c.Name, err)
		}
	}
	return nil
}
