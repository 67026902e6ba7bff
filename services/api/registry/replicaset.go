package registry

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func replicaSet() *Kind {
	return define(Spec[*appsv1.ReplicaSet]{
		GVK: apps("ReplicaSet"), Resource: "replicasets", Singular: "replicaset", ShortNames: []string{"rs"}, Categories: []string{"all"},
		Namespaced: true,
		New:        func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} },
		NewList:    func() runtime.Object { return &appsv1.ReplicaSetList{} },
		Life: generations(func(o *appsv1.ReplicaSet) (*appsv1.ReplicaSetSpec, *appsv1.ReplicaSetStatus) {
			return &o.Spec, &o.Status
		}),
		Default: func(r *appsv1.ReplicaSet) {
			point(&r.Spec.Replicas, 1)
			podspec.Default(&r.Spec.Template.Spec)
		},
		Validate: func(r *appsv1.ReplicaSet) field.ErrorList {
			var e check.Errors
			p := field.NewPath("spec")
			e.NonNegative(p.Child("replicas"), int64(deref(r.Spec.Replicas)))
			e.NonNegative(p.Child("minReadySeconds"), int64(r.Spec.MinReadySeconds))
			validateWorkloadTemplate(&e, p, "ReplicaSet", r.Spec.Selector, &r.Spec.Template)
			return e.List()
		},
		ValidateUpdate: func(r, old *appsv1.ReplicaSet) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec", "selector"), r.Spec.Selector, old.Spec.Selector)
			return e.List()
		},
		ValidateStatus: func(r, _ *appsv1.ReplicaSet) field.ErrorList {
			s := &r.Status
			return validateReplicaStatus(replicaStatus{s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration})
		},
		Warnings: templateWarnings(func(o *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		Columns:  columns("Name|Desired#|Current#|Ready#|Age|+Containers|+Images|+Selector"),
		Cells: func(r *appsv1.ReplicaSet, now time.Time) []any {
			containers, images := containersAndImages(&r.Spec.Template.Spec)
			return []any{r.Name, int64(deref(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				age(r.CreationTimestamp, now), containers, images, metav1.FormatLabelSelector(r.Spec.Selector)}
		},
		Fields: func(r *appsv1.ReplicaSet) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		},
		Scale: scaleOf(func(r *appsv1.ReplicaSet) (**int32, int32, *metav1.LabelSelector) {
			return &r.Spec.Replicas, r.Status.Replicas, r.Spec.Selector
		}),
	})
}

// replicaStatus is what replica sets and replication controllers count alike.
type replicaStatus struct {
	replicas, fullyLabeled, ready, available int32
	observed                                 int64
}

func validateReplicaStatus(s replicaStatus) field.ErrorList {
	var e check.Errors
	p := field.NewPath("status")
	e.NonNegative(p.Child("replicas"), int64(s.replicas))
	e.NonNegative(p.Child("fullyLabeledReplicas"), int64(s.fullyLabeled))
	e.NonNegative(p.Child("readyReplicas"), int64(s.ready))
	e.NonNegative(p.Child("availableReplicas"), int64(s.available))
	e.NonNegative(p.Child("observedGeneration"), s.observed)
	e.If(s.fullyLabeled > s.replicas, p.Child("fullyLabeledReplicas"), s.fullyLabeled, "cannot be greater than status.replicas")
	e.If(s.ready > s.replicas, p.Child("readyReplicas"), s.ready, "cannot be greater than status.replicas")
	e.If(s.available > s.replicas, p.Child("availableReplicas"), s.available, "cannot be greater than status.replicas")
	e.If(s.available > s.ready, p.Child("availableReplicas"), s.available, "cannot be greater than readyReplicas")
	return e.List()
}
