package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func secret() *Kind {
	return define(Spec[*corev1.Secret]{
		GVK: core("Secret"), Resource: "secrets", Singular: "secret", ShortNames: []string{}, Namespaced: true,
		New:     func() *corev1.Secret { return &corev1.Secret{} },
		NewList: func() runtime.Object { return &corev1.SecretList{} },
	})
}
