package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// ValidateTemplate reports what is wrong with a pod template.
func ValidateTemplate(e *check.Errors, p *field.Path, t *corev1.PodTemplateSpec) {
}
