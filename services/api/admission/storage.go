package admission

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/volume"
)

// inUseProtection keeps claims and volumes until nobody uses them: controllers remove the finalizers then.
type inUseProtection struct{}

// Admit implements Plugin.
func (inUseProtection) Admit(_ context.Context, a *Attributes) error {
	if a.Operation != Create || a.Subresource != "" {
		return nil
	}
	finalizer := ""
	switch a.Object.(type) {
	case *corev1.PersistentVolumeClaim:
		finalizer = volume.ClaimProtection
	case *corev1.PersistentVolume:
		finalizer = volume.VolumeProtection
	default:
		return nil
	}
	if have := a.Object.GetFinalizers(); !slices.Contains(have, finalizer) {
		a.Object.SetFinalizers(append(have, finalizer))
	}
	return nil
}

// claimGrowth lets bound claims grow whose class allows it.
type claimGrowth struct{ Reader }

var _ Validator = claimGrowth{}

// Admit implements Plugin.
func (claimGrowth) Admit(context.Context, *Attributes) error { return nil }

// Validate implements Validator.
func (p claimGrowth) Validate(ctx context.Context, a *Attributes) error {
	if a.Operation != Update || !a.Is("", "PersistentVolumeClaim") {
		return nil
	}
	now, was := a.Object.(*corev1.PersistentVolumeClaim), a.Old.(*corev1.PersistentVolumeClaim)
	size, before := now.Spec.Resources.Requests[corev1.ResourceStorage], was.Spec.Resources.Requests[corev1.ResourceStorage]
	if size.Cmp(before) <= 0 {
		return nil
	}
	if was.Status.Phase != corev1.ClaimBound {
		return a.forbidden(errors.New("Only bound persistent volume claims can be expanded"))
	}
	allowed, err := p.mayGrow(ctx, classOf(now), classOf(was))
	if err != nil || allowed {
		return err
	}
	return a.forbidden(errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
}

func (p claimGrowth) mayGrow(ctx context.Context, class, before string) (bool, error) {
	if class == "" || class != before {
		return false, nil
	}
	obj, err := p.Read(ctx, gvkStorageClass, "", class)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	allowed := obj.(*storagev1.StorageClass).AllowVolumeExpansion
	return allowed != nil && *allowed, nil
}

func classOf(claim *corev1.PersistentVolumeClaim) string {
	if old, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return old
	}
	if claim.Spec.StorageClassName == nil {
		return ""
	}
	return *claim.Spec.StorageClassName
}
