package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func node() *Kind {
	return define(Spec[*corev1.Node]{
		GVK: core("Node"), Resource: "nodes", Singular: "node", ShortNames: []string{"no"}, Namespaced: false,
		New:     func() *corev1.Node { return &corev1.Node{} },
		NewList: func() runtime.Object { return &corev1.NodeList{} },
		Life:    specAndStatus(func(o *corev1.Node) (*corev1.NodeSpec, *corev1.NodeStatus) { return &o.Spec, &o.Status }),
	})
}
