package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(p *corev1.Pod) field.ErrorList            { return nil }
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList { return nil }
func validatePodStatus(p, old *corev1.Pod) field.ErrorList { return nil }
func podWarnings(p, old *corev1.Pod) []string              { return nil }
