package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func service() *Kind {
	return define(Spec[*corev1.Service]{
		GVK: core("Service"), Resource: "services", Singular: "service", ShortNames: []string{"svc"}, Namespaced: true,
		New:        func() *corev1.Service { return &corev1.Service{} },
		NewList:    func() runtime.Object { return &corev1.ServiceList{} },
		Categories: []string{"all"}, Life: specAndStatus(func(o *corev1.Service) (*corev1.ServiceSpec, *corev1.ServiceStatus) { return &o.Spec, &o.Status }),
	})
}
