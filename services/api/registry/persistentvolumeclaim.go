package registry

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func persistentVolumeClaim() *Kind {
	return define(Spec[*corev1.PersistentVolumeClaim]{
		GVK: core("PersistentVolumeClaim"), Resource: "persistentvolumeclaims", Singular: "persistentvolumeclaim", ShortNames: []string{"pvc"}, Namespaced: true,
		New:     func() *corev1.PersistentVolumeClaim { return &corev1.PersistentVolumeClaim{} },
		NewList: func() runtime.Object { return &corev1.PersistentVolumeClaimList{} },
		Life: specAndStatus(func(o *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaimSpec, *corev1.PersistentVolumeClaimStatus) {
			return &o.Spec, &o.Status
		}),
		PrepareCreate: func(c *corev1.PersistentVolumeClaim) {
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
			sameSources(&c.Spec)
		},
		Default: defaultClaim,
		Validate: func(c *corev1.PersistentVolumeClaim) field.ErrorList {
			var e check.Errors
			podspec.ValidateClaim(&e, field.NewPath("spec"), &c.Spec)
			return e.List()
		},
		ValidateUpdate: validateClaimUpdate,
		Columns:        columns("Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|+VolumeMode"),
		Cells: func(c *corev1.PersistentVolumeClaim, now time.Time) []any {
			phase, size, access := string(c.Status.Phase), "", ""
			if c.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			if c.Spec.VolumeName != "" {
				q := c.Status.Capacity[corev1.ResourceStorage]
				size, access = q.String(), modes(c.Status.AccessModes)
			}
			class := deref(c.Spec.StorageClassName)
			if old, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				class = old
			}
			return []any{c.Name, phase, c.Spec.VolumeName, size, access, class, orUnset(c.Spec.VolumeAttributesClassName),
				age(c.CreationTimestamp, now), orUnset(c.Spec.VolumeMode)}
		},
	})
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	set(&c.Status.Phase, corev1.ClaimPending)
	podspec.DefaultClaim(&c.Spec)
}

// sameSources keeps the two fields that name where a claim's data comes from alike, for kinds that both can name.
func sameSources(s *corev1.PersistentVolumeClaimSpec) {
	switch from, ref := s.DataSource, s.DataSourceRef; {
	case from != nil && ref == nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: from.APIGroup, Kind: from.Kind, Name: from.Name}
	case ref != nil && from == nil && deref(ref.Namespace) == "":
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
}

func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	var e check.Errors
	p := field.NewPath("spec")
	rest := c.Spec.DeepCopy()
	// A volume is bound once; a bound claim may grow.
	if old.Spec.VolumeName == "" {
		rest.VolumeName = old.Spec.VolumeName
	}
	storage := corev1.ResourceStorage
	now, was, had := c.Spec.Resources.Requests[storage], old.Spec.Resources.Requests[storage], old.Status.Capacity[storage]
	if old.Status.Phase == corev1.ClaimBound {
		rest.Resources.Requests = old.Spec.Resources.Requests
		rest.VolumeAttributesClassName = old.Spec.VolumeAttributesClassName
	}
	if old.Spec.StorageClassName == nil {
		// A default class may be given to a claim that came before it.
		rest.StorageClassName = nil
	}
	if !equality.Semantic.DeepEqual(*rest, old.Spec) {
		e.Forbidden(p, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"+diff.Diff(old.Spec, *rest))
	}
	if now.Cmp(was) < 0 && now.Cmp(had) <= 0 {
		e.Forbidden(p.Child("resources", "requests", "storage"), "field can not be less than status.capacity")
	}
	return e.List()
}
