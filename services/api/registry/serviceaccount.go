package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func serviceAccount() *Kind {
	return define(Spec[*corev1.ServiceAccount]{
		GVK: core("ServiceAccount"), Resource: "serviceaccounts", Singular: "serviceaccount", ShortNames: []string{"sa"}, Namespaced: true,
		New:     func() *corev1.ServiceAccount { return &corev1.ServiceAccount{} },
		NewList: func() runtime.Object { return &corev1.ServiceAccountList{} },
		// Names of token secrets are written by hand only; references carry nothing else.
		Default: func(s *corev1.ServiceAccount) {
			for i := range s.Secrets {
				s.Secrets[i] = corev1.ObjectReference{Name: s.Secrets[i].Name}
			}
		},
		Subresources: []Subresource{{Name: "token", Kind: gvk("authentication.k8s.io", "v1", "TokenRequest"), Verbs: []string{"create"}}},
	})
}
