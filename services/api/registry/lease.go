package registry

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func lease() *Kind {
	return define(Spec[*coordinationv1.Lease]{
		GVK: gvk("coordination.k8s.io", "v1", "Lease"), Resource: "leases", Singular: "lease", ShortNames: []string{}, Namespaced: true,
		New:     func() *coordinationv1.Lease { return &coordinationv1.Lease{} },
		NewList: func() runtime.Object { return &coordinationv1.LeaseList{} },
	})
}
