package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func serviceName(name string, prefix bool) []string {
	return validation.NameIsDNS1035Label(name, prefix)
}

func validateService(s *corev1.Service) field.ErrorList            { return nil }
func validateServiceUpdate(s, old *corev1.Service) field.ErrorList { return nil }
