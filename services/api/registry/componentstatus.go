package registry

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// componentStatus tells of the parts of the control plane. It is found out whenever somebody asks.
func componentStatus() *Kind {
	k := define(Spec[*corev1.ComponentStatus]{
		GVK: core("ComponentStatus"), Resource: "componentstatuses", Singular: "componentstatus", ShortNames: []string{"cs"}, Verbs: readOnly, Computed: true,
		New:     func() *corev1.ComponentStatus { return &corev1.ComponentStatus{} },
		NewList: func() runtime.Object { return &corev1.ComponentStatusList{} },
		Columns: columns("Name|Status|Message|Error"),
		Cells: func(s *corev1.ComponentStatus, _ time.Time) []any {
			for _, c := range s.Conditions {
				if c.Type != corev1.ComponentHealthy {
					continue
				}
				status := "Unhealthy"
				if c.Status == corev1.ConditionTrue {
					status = "Healthy"
				}
				return []any{s.Name, status, c.Message, c.Error}
			}
			return []any{s.Name, "Unknown", "", ""}
		},
	})
	k.Deprecated = "v1 ComponentStatus is deprecated in v1.19+"
	return k
}
