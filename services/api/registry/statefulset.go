package registry

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func statefulSet() *Kind {
	return define(Spec[*appsv1.StatefulSet]{
		GVK: apps("StatefulSet"), Resource: "statefulsets", Singular: "statefulset", ShortNames: []string{"sts"}, Categories: []string{"all"},
		Namespaced: true,
		New:        func() *appsv1.StatefulSet { return &appsv1.StatefulSet{} },
		NewList:    func() runtime.Object { return &appsv1.StatefulSetList{} },
		Life: generations(func(o *appsv1.StatefulSet) (*appsv1.StatefulSetSpec, *appsv1.StatefulSetStatus) {
			return &o.Spec, &o.Status
		}),
		Default:        defaultStatefulSet,
		ValidateName:   validation.NameIsDNSLabel,
		Validate:       validateStatefulSet,
		ValidateUpdate: validateStatefulSetUpdate,
		ValidateStatus: validateStatefulSetStatus,
		Warnings:       templateWarnings(func(o *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		Columns:        columns("Name|Ready|Age|+Containers|+Images"),
		Cells: func(s *appsv1.StatefulSet, now time.Time) []any {
			containers, images := containersAndImages(&s.Spec.Template.Spec)
			return []any{s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, deref(s.Spec.Replicas)), age(s.CreationTimestamp, now), containers, images}
		},
		Scale: scaleOf(func(s *appsv1.StatefulSet) (**int32, int32, *metav1.LabelSelector) {
			return &s.Spec.Replicas, s.Status.Replicas, s.Spec.Selector
		}),
	})
}

func defaultStatefulSet(o *appsv1.StatefulSet) {
	s := &o.Spec
	set(&s.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	set(&s.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
	if s.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		if s.UpdateStrategy.RollingUpdate == nil {
			s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
		point(&s.UpdateStrategy.RollingUpdate.Partition, 0)
		point(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	if s.PersistentVolumeClaimRetentionPolicy == nil {
		s.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	set(&s.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	set(&s.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	point(&s.Replicas, 1)
	point(&s.RevisionHistoryLimit, 10)
	podspec.Default(&s.Template.Spec)
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		set(&c.Kind, "PersistentVolumeClaim")
		set(&c.APIVersion, "v1")
		defaultClaim(c)
		// Templates have no status, but Kubernetes gives them the phase that claims begin with.
		set(&c.Status.Phase, corev1.ClaimPending)
	}
}

// Restore sets what the stored form of an object does not hold: protobuf keeps no apiVersion and kind of objects inside others.
func Restore(obj Object) {
	if s, ok := obj.(*appsv1.StatefulSet); ok {
		for i := range s.Spec.VolumeClaimTemplates {
			s.Spec.VolumeClaimTemplates[i].TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
		}
	}
}

func validateStatefulSet(o *appsv1.StatefulSet) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &o.Spec
	for i := range s.VolumeClaimTemplates {
		podspec.ValidateClaim(&e, p.Child("volumeClaimTemplates").Index(i).Child("spec"), &s.VolumeClaimTemplates[i].Spec)
	}
	e.If(s.PodManagementPolicy != appsv1.OrderedReadyPodManagement && s.PodManagementPolicy != appsv1.ParallelPodManagement,
		p.Child("podManagementPolicy"), s.PodManagementPolicy,
		fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement))
	validateStatefulStrategy(&e, p.Child("updateStrategy"), &s.UpdateStrategy)
	validateClaimRetention(&e, p.Child("persistentVolumeClaimRetentionPolicy"), s.PersistentVolumeClaimRetentionPolicy)
	e.NonNegative(p.Child("replicas"), int64(deref(s.Replicas)))
	e.NonNegative(p.Child("minReadySeconds"), int64(s.MinReadySeconds))
	if s.Ordinals != nil {
		e.NonNegative(p.Child("ordinals", "start"), int64(s.Ordinals.Start))
	}
	if l := s.RevisionHistoryLimit; l != nil {
		e.NonNegative(p.Child("revisionHistoryLimit"), int64(*l))
	}
	if s.ServiceName != "" {
		e.Messages(p.Child("serviceName"), s.ServiceName, validation.NameIsDNSLabel(s.ServiceName, false))
	}
	validateWorkloadTemplate(&e, p, "StatefulSet", s.Selector, withClaims(s))
	return e.List()
}

// withClaims is the template as its pods will have it: with a volume for each claim, which mounts may name.
func withClaims(s *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	if len(s.VolumeClaimTemplates) == 0 {
		return &s.Template
	}
	t := s.Template
	claims := map[string]bool{}
	t.Spec.Volumes = nil
	for i := range s.VolumeClaimTemplates {
		name := s.VolumeClaimTemplates[i].Name
		if claims[name] {
			continue
		}
		claims[name] = true
		t.Spec.Volumes = append(t.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	for i := range s.Template.Spec.Volumes {
		if v := s.Template.Spec.Volumes[i]; !claims[v.Name] {
			t.Spec.Volumes = append(t.Spec.Volumes, v)
		}
	}
	return &t
}

func validateStatefulStrategy(e *check.Errors, p *field.Path, s *appsv1.StatefulSetUpdateStrategy) {
	switch s.Type {
	case "":
		e.Required(p, "")
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			e.Invalid(p.Child("rollingUpdate"), s.RollingUpdate, fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if r := s.RollingUpdate; r != nil {
			e.NonNegative(p.Child("rollingUpdate", "partition"), int64(deref(r.Partition)))
			if m := r.MaxUnavailable; m != nil {
				e.Percent(p.Child("rollingUpdate", "maxUnavailable"), *m)
				e.If(isZero(*m), p.Child("rollingUpdate", "maxUnavailable"), *m, "cannot be 0")
				e.AtMostAll(p.Child("rollingUpdate", "maxUnavailable"), *m)
			}
		}
	default:
		e.Invalid(p, *s, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))
	}
}

func validateClaimRetention(e *check.Errors, p *field.Path, r *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy) {
	if r == nil {
		return
	}
	allowed := []appsv1.PersistentVolumeClaimRetentionPolicyType{appsv1.DeletePersistentVolumeClaimRetentionPolicyType, appsv1.RetainPersistentVolumeClaimRetentionPolicyType}
	check.Among(e, p.Child("whenDeleted"), r.WhenDeleted, allowed...)
	check.Among(e, p.Child("whenScaled"), r.WhenScaled, allowed...)
}

func validateStatefulSetUpdate(o, old *appsv1.StatefulSet) field.ErrorList {
	var e check.Errors
	rest := o.Spec.DeepCopy()
	rest.Replicas, rest.Template, rest.UpdateStrategy, rest.MinReadySeconds = old.Spec.Replicas, old.Spec.Template, old.Spec.UpdateStrategy, old.Spec.MinReadySeconds
	rest.Ordinals, rest.RevisionHistoryLimit = old.Spec.Ordinals, old.Spec.RevisionHistoryLimit
	rest.PersistentVolumeClaimRetentionPolicy = old.Spec.PersistentVolumeClaimRetentionPolicy
	// Protobuf, and with it the store, keeps no apiVersion and kind inside an object: defaults have set them in one only.
	for i := range rest.VolumeClaimTemplates {
		if i < len(old.Spec.VolumeClaimTemplates) {
			rest.VolumeClaimTemplates[i].TypeMeta = old.Spec.VolumeClaimTemplates[i].TypeMeta
		}
	}
	if !equality.Semantic.DeepEqual(*rest, old.Spec) {
		e.Forbidden(field.NewPath("spec"), "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "+
			"'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")
	}
	return e.List()
}

func validateStatefulSetStatus(o, old *appsv1.StatefulSet) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("status"), &o.Status
	e.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration)
	e.NonNegatives(p, map[string]*int32{
		"replicas": &s.Replicas, "readyReplicas": &s.ReadyReplicas, "currentReplicas": &s.CurrentReplicas,
		"updatedReplicas": &s.UpdatedReplicas, "availableReplicas": &s.AvailableReplicas, "collisionCount": s.CollisionCount,
	})
	for _, c := range []struct {
		name  string
		value int32
	}{{"readyReplicas", s.ReadyReplicas}, {"currentReplicas", s.CurrentReplicas}, {"updatedReplicas", s.UpdatedReplicas}, {"availableReplicas", s.AvailableReplicas}} {
		e.If(c.value > s.Replicas, p.Child(c.name), c.value, "cannot be greater than status.replicas")
	}
	e.If(s.AvailableReplicas > s.ReadyReplicas, p.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than status.readyReplicas")
	if was := old.Status.CollisionCount; was != nil {
		e.If(deref(s.CollisionCount) < *was, p.Child("collisionCount"), deref(s.CollisionCount), "cannot be decremented")
	}
	return e.List()
}
