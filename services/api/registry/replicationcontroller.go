package registry

import (
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func replicationController() *Kind {
	return define(Spec[*corev1.ReplicationController]{
		GVK: core("ReplicationController"), Resource: "replicationcontrollers", Singular: "replicationcontroller", ShortNames: []string{"rc"},
		Categories: []string{"all"}, Namespaced: true,
		New:     func() *corev1.ReplicationController { return &corev1.ReplicationController{} },
		NewList: func() runtime.Object { return &corev1.ReplicationControllerList{} },
		Life: generations(func(o *corev1.ReplicationController) (*corev1.ReplicationControllerSpec, *corev1.ReplicationControllerStatus) {
			return &o.Spec, &o.Status
		}),
		Default:  defaultReplicationController,
		Validate: validateReplicationController,
		ValidateStatus: func(r, _ *corev1.ReplicationController) field.ErrorList {
			s := &r.Status
			return validateReplicaStatus(replicaStatus{s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration})
		},
		Columns: columns("Name|Desired#|Current#|Ready#|Age|+Containers|+Images|+Selector"),
		Cells: func(r *corev1.ReplicationController, now time.Time) []any {
			containers, images := "", ""
			if r.Spec.Template != nil {
				containers, images = containersAndImages(&r.Spec.Template.Spec)
			}
			return []any{r.Name, int64(deref(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				age(r.CreationTimestamp, now), containers, images, labels.FormatLabels(r.Spec.Selector)}
		},
		Fields: func(r *corev1.ReplicationController) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		},
		Scale: &Scale{
			Get: func(obj Object) (int32, int32, string) {
				r := obj.(*corev1.ReplicationController)
				return deref(r.Spec.Replicas), r.Status.Replicas, labels.Set(r.Spec.Selector).AsSelector().String()
			},
			Set: func(obj Object, replicas int32) { obj.(*corev1.ReplicationController).Spec.Replicas = &replicas },
		},
	})
}

func defaultReplicationController(r *corev1.ReplicationController) {
	point(&r.Spec.Replicas, 1)
	t := r.Spec.Template
	if t == nil {
		return
	}
	podspec.Default(&t.Spec)
	if len(r.Spec.Selector) == 0 {
		r.Spec.Selector = maps.Clone(t.Labels)
	}
	if len(r.Labels) == 0 {
		r.Labels = maps.Clone(t.Labels)
	}
}

func validateReplicationController(r *corev1.ReplicationController) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &r.Spec
	e.NonNegative(p.Child("minReadySeconds"), int64(s.MinReadySeconds))
	if len(s.Selector) == 0 {
		e.Required(p.Child("selector"), "")
	}
	e.NonNegative(p.Child("replicas"), int64(deref(s.Replicas)))
	if s.Template == nil {
		e.Required(p.Child("template"), "")
		return e.List()
	}
	if sel := labels.Set(s.Selector).AsSelectorPreValidated(); !sel.Empty() && !sel.Matches(labels.Set(s.Template.Labels)) {
		e.Invalid(p.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")
	}
	podspec.ValidateTemplate(&e, p.Child("template"), s.Template)
	validateForever(&e, p.Child("template", "spec"), "ReplicationController", &s.Template.Spec)
	return e.List()
}
