package registry

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func daemonSet() *Kind {
	return define(Spec[*appsv1.DaemonSet]{
		GVK: apps("DaemonSet"), Resource: "daemonsets", Singular: "daemonset", ShortNames: []string{"ds"}, Categories: []string{"all"},
		Namespaced: true,
		New:        func() *appsv1.DaemonSet { return &appsv1.DaemonSet{} },
		NewList:    func() runtime.Object { return &appsv1.DaemonSetList{} },
		Life:       templateGeneration(),
		Default:    defaultDaemonSet,
		Validate:   validateDaemonSet,
		ValidateUpdate: func(d, old *appsv1.DaemonSet) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec", "selector"), d.Spec.Selector, old.Spec.Selector)
			return e.List()
		},
		ValidateStatus: validateDaemonSetStatus,
		Warnings:       templateWarnings(func(o *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		Columns:        columns("Name|Desired#|Current#|Ready#|Up-to-date#|Available#|Node Selector|Age|+Containers|+Images|+Selector"),
		Cells: func(d *appsv1.DaemonSet, now time.Time) []any {
			s := &d.Status
			containers, images := containersAndImages(&d.Spec.Template.Spec)
			return []any{d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady), int64(s.UpdatedNumberScheduled),
				int64(s.NumberAvailable), labels.FormatLabels(d.Spec.Template.Spec.NodeSelector), age(d.CreationTimestamp, now),
				containers, images, metav1.FormatLabelSelector(d.Spec.Selector)}
		},
	})
}

// templateGeneration counts the changes of the template for clients from before DaemonSets had revisions.
func templateGeneration() life[*appsv1.DaemonSet] {
	own := generations(func(o *appsv1.DaemonSet) (*appsv1.DaemonSetSpec, *appsv1.DaemonSetStatus) { return &o.Spec, &o.Status })
	count := func(d *appsv1.DaemonSet, n int64) {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, appsv1.DeprecatedTemplateGeneration, strconv.FormatInt(n, 10))
	}
	of := func(d *appsv1.DaemonSet) int64 {
		n, _ := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
		return max(n, 1)
	}
	return life[*appsv1.DaemonSet]{
		create: func(d *appsv1.DaemonSet) { own.create(d); count(d, 1) },
		update: func(d, old *appsv1.DaemonSet) {
			own.update(d, old)
			n := of(old)
			if !equality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
				n++
			}
			count(d, n)
		},
		status: own.status,
	}
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec
	set(&s.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if s.UpdateStrategy.RollingUpdate == nil {
			s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		point(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		point(&s.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	point(&s.RevisionHistoryLimit, 10)
	podspec.Default(&s.Template.Spec)
}

func validateDaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &d.Spec
	validateWorkloadTemplate(&e, p, "DaemonSet", s.Selector, &s.Template)
	e.NonNegative(p.Child("minReadySeconds"), int64(s.MinReadySeconds))
	if l := s.RevisionHistoryLimit; l != nil {
		e.NonNegative(p.Child("revisionHistoryLimit"), int64(*l))
	}
	at := p.Child("updateStrategy")
	switch s.UpdateStrategy.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.UpdateStrategy.RollingUpdate == nil {
			e.Required(at.Child("rollingUpdate"), "")
			break
		}
		validateDaemonRoll(&e, at.Child("rollingUpdate"), deref(s.UpdateStrategy.RollingUpdate.MaxUnavailable), deref(s.UpdateStrategy.RollingUpdate.MaxSurge))
	default:
		check.Among(&e, at.Child("type"), s.UpdateStrategy.Type, appsv1.OnDeleteDaemonSetStrategyType, appsv1.RollingUpdateDaemonSetStrategyType)
	}
	return e.List()
}

// validateDaemonRoll: a node's old pod goes first, or its new one comes first, not both.
func validateDaemonRoll(e *check.Errors, p *field.Path, unavailable, surge intstr.IntOrString) {
	e.Percent(p.Child("maxUnavailable"), unavailable)
	e.AtMostAll(p.Child("maxUnavailable"), unavailable)
	e.Percent(p.Child("maxSurge"), surge)
	e.AtMostAll(p.Child("maxSurge"), surge)
	switch {
	case !isZero(unavailable) && !isZero(surge):
		e.Invalid(p.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero")
	case isZero(unavailable) && isZero(surge):
		e.Required(p.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0")
	}
}

func validateDaemonSetStatus(d, old *appsv1.DaemonSet) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("status"), &d.Status
	e.NonNegatives(p, map[string]*int32{
		"currentNumberScheduled": &s.CurrentNumberScheduled, "numberMisscheduled": &s.NumberMisscheduled,
		"desiredNumberScheduled": &s.DesiredNumberScheduled, "numberReady": &s.NumberReady, "updatedNumberScheduled": &s.UpdatedNumberScheduled,
		"numberAvailable": &s.NumberAvailable, "numberUnavailable": &s.NumberUnavailable, "collisionCount": s.CollisionCount,
	})
	e.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration)
	if was := old.Status.CollisionCount; was != nil {
		e.If(deref(s.CollisionCount) < *was, p.Child("collisionCount"), deref(s.CollisionCount), "cannot be decremented")
	}
	return e.List()
}
