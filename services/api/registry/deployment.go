package registry

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func deployment() *Kind {
	life := generations(func(o *appsv1.Deployment) (*appsv1.DeploymentSpec, *appsv1.DeploymentStatus) {
		return &o.Spec, &o.Status
	})
	return define(Spec[*appsv1.Deployment]{
		GVK: apps("Deployment"), Resource: "deployments", Singular: "deployment", ShortNames: []string{"deploy"}, Categories: []string{"all"},
		Namespaced: true,
		New:        func() *appsv1.Deployment { return &appsv1.Deployment{} },
		NewList:    func() runtime.Object { return &appsv1.DeploymentList{} },
		Life:       life,
		PrepareStatus: func(d, old *appsv1.Deployment) {
			life.status(d, old)
			d.Labels = old.Labels
		},
		Default:  defaultDeployment,
		Validate: func(d *appsv1.Deployment) field.ErrorList { return validateDeploymentSpec(&d.Spec) },
		ValidateUpdate: func(d, old *appsv1.Deployment) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec", "selector"), d.Spec.Selector, old.Spec.Selector)
			return e.List()
		},
		ValidateStatus: validateDeploymentStatus,
		Warnings:       templateWarnings(func(o *appsv1.Deployment) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		Columns:        columns("Name|Ready|Up-to-date#|Available#|Age|+Containers|+Images|+Selector"),
		Cells: func(d *appsv1.Deployment, now time.Time) []any {
			containers, images := containersAndImages(&d.Spec.Template.Spec)
			return []any{d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas)), int64(d.Status.UpdatedReplicas),
				int64(d.Status.AvailableReplicas), age(d.CreationTimestamp, now), containers, images, metav1.FormatLabelSelector(d.Spec.Selector)}
		},
		Scale: scaleOf(func(d *appsv1.Deployment) (**int32, int32, *metav1.LabelSelector) {
			return &d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector
		}),
	})
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	point(&s.Replicas, 1)
	point(&s.RevisionHistoryLimit, 10)
	point(&s.ProgressDeadlineSeconds, 600)
	set(&s.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if s.Strategy.RollingUpdate == nil {
			s.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		point(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		point(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	podspec.Default(&s.Template.Spec)
}

func validateDeploymentSpec(s *appsv1.DeploymentSpec) field.ErrorList {
	var e check.Errors
	p := field.NewPath("spec")
	e.NonNegative(p.Child("replicas"), int64(deref(s.Replicas)))
	validateWorkloadTemplate(&e, p, "ReplicaSet", s.Selector, &s.Template)
	validateDeploymentStrategy(&e, p.Child("strategy"), &s.Strategy)
	e.NonNegative(p.Child("minReadySeconds"), int64(s.MinReadySeconds))
	if l := s.RevisionHistoryLimit; l != nil {
		e.NonNegative(p.Child("revisionHistoryLimit"), int64(*l))
	}
	if d := s.ProgressDeadlineSeconds; d != nil {
		e.NonNegative(p.Child("progressDeadlineSeconds"), int64(*d))
		e.If(*d <= s.MinReadySeconds, p.Child("progressDeadlineSeconds"), *d, "must be greater than minReadySeconds")
	}
	return e.List()
}

func validateDeploymentStrategy(e *check.Errors, p *field.Path, s *appsv1.DeploymentStrategy) {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			e.Forbidden(p.Child("rollingUpdate"), "may not be specified when strategy `type` is '"+string(s.Type)+"'")
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			e.Required(p.Child("rollingUpdate"), "this should be defaulted and never be nil")
			return
		}
		validateRollingUpdate(e, p.Child("rollingUpdate"), deref(s.RollingUpdate.MaxUnavailable), deref(s.RollingUpdate.MaxSurge))
	default:
		e.Add(field.NotSupported(p, shownStrategy(s), []string{string(appsv1.RecreateDeploymentStrategyType), string(appsv1.RollingUpdateDeploymentStrategyType)}))
	}
}

// validateRollingUpdate: with neither room to remove nor room to add, a roll-out could not move.
func validateRollingUpdate(e *check.Errors, p *field.Path, unavailable, surge intstr.IntOrString) {
	e.Percent(p.Child("maxUnavailable"), unavailable)
	e.Percent(p.Child("maxSurge"), surge)
	e.If(isZero(unavailable) && isZero(surge), p.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0")
	e.AtMostAll(p.Child("maxUnavailable"), unavailable)
}

func isZero(v intstr.IntOrString) bool {
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, 100, true)
	return err == nil && n == 0
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	var e check.Errors
	p := field.NewPath("status")
	s := &d.Status
	e.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration)
	e.NonNegatives(p, map[string]*int32{
		"replicas": &s.Replicas, "updatedReplicas": &s.UpdatedReplicas, "readyReplicas": &s.ReadyReplicas,
		"availableReplicas": &s.AvailableReplicas, "unavailableReplicas": &s.UnavailableReplicas, "terminatingReplicas": s.TerminatingReplicas,
		"collisionCount": s.CollisionCount,
	})
	e.If(s.UpdatedReplicas > s.Replicas, p.Child("updatedReplicas"), s.UpdatedReplicas, "cannot be greater than status.replicas")
	e.If(s.ReadyReplicas > s.Replicas, p.Child("readyReplicas"), s.ReadyReplicas, "cannot be greater than status.replicas")
	e.If(s.AvailableReplicas > s.Replicas, p.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than status.replicas")
	e.If(s.AvailableReplicas > s.ReadyReplicas, p.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas")
	if was := old.Status.CollisionCount; was != nil {
		e.If(deref(s.CollisionCount) < *was, p.Child("collisionCount"), deref(s.CollisionCount), "cannot be decremented")
	}
	return e.List()
}

// shownStrategy is a strategy as Kubernetes shows it in a refusal: under the names of its Go fields.
func shownStrategy(s *appsv1.DeploymentStrategy) any {
	type rolling struct{ MaxUnavailable, MaxSurge intstr.IntOrString }
	shown := struct {
		Type          appsv1.DeploymentStrategyType
		RollingUpdate *rolling
	}{Type: s.Type}
	if r := s.RollingUpdate; r != nil {
		shown.RollingUpdate = &rolling{deref(r.MaxUnavailable), deref(r.MaxSurge)}
	}
	return shown
}
