package registry

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func lease() *Kind {
	return define(Spec[*coordinationv1.Lease]{
		GVK: gvk("coordination.k8s.io", "v1", "Lease"), Resource: "leases", Singular: "lease", Namespaced: true,
		New:      func() *coordinationv1.Lease { return &coordinationv1.Lease{} },
		NewList:  func() runtime.Object { return &coordinationv1.LeaseList{} },
		Validate: validateLease,
		Columns:  columns("Name|Holder|Age"),
		Cells: func(l *coordinationv1.Lease, now time.Time) []any {
			return []any{l.Name, deref(l.Spec.HolderIdentity), age(l.CreationTimestamp, now)}
		},
	})
}

func validateLease(l *coordinationv1.Lease) field.ErrorList {
	var e check.Errors
	p := field.NewPath("spec")
	if d := l.Spec.LeaseDurationSeconds; d != nil {
		e.If(*d <= 0, p.Child("leaseDurationSeconds"), *d, "must be greater than 0")
	}
	if t := l.Spec.LeaseTransitions; t != nil {
		e.NonNegative(p.Child("leaseTransitions"), int64(*t))
	}
	if s := l.Spec.Strategy; s != nil {
		if msgs := validation.IsQualifiedName(string(*s)); len(msgs) > 0 {
			e.Messages(p.Child("strategy"), *s, msgs)
		}
	}
	if h := l.Spec.PreferredHolder; h != nil && *h != "" && deref(l.Spec.Strategy) == "" {
		e.Forbidden(p.Child("preferredHolder"), "may only be specified when `strategy` is defined")
	}
	return e.List()
}
