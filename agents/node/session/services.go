package session

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Services returns the Services of a namespace that pods are told of, in the order of their names.
func (o *Objects) Services(namespace string) []*corev1.Service {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var out []*corev1.Service
	for name, service := range o.services {
		if name.Namespace == namespace {
			out = append(out, service)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Service) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// setService takes a Service. What runs is told nothing new: an environment is a container's for life.
func (o *Objects) setService(name types.NamespacedName, data []byte, _ Handler) error {
	_, err := keep(o, o.services, name, data)
	return err
}

func (o *Objects) removeService(name types.NamespacedName, _ Handler) {
	drop(o, o.services, name)
}
