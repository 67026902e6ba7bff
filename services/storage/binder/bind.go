package binder

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"karve.dev/karve/internal/volume"
)

// bind makes a claim and a volume each other's, in four steps of which each leaves something that the next attempt
// goes on from: the volume names the claim, so that nobody else takes it; then the claim names the volume.
func (b *Controller) bind(ctx context.Context, c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	v, err := b.give(ctx, v, c)
	if err != nil {
		return err
	}
	if err := b.setVolumePhase(ctx, v, corev1.VolumeBound, "", ""); err != nil {
		return err
	}
	c, err = b.take(ctx, c, v)
	if err != nil {
		return err
	}
	return b.setBound(ctx, c, v)
}

// give writes the claim's name on the volume.
func (b *Controller) give(ctx context.Context, v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, error) {
	if ref := v.Spec.ClaimRef; ref != nil && ref.UID == c.UID {
		return v, nil
	}
	v = v.DeepCopy()
	if v.Spec.ClaimRef == nil {
		annotate(&v.Annotations, volume.BoundByController, "yes")
	}
	v.Spec.ClaimRef = &corev1.ObjectReference{
		APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion,
	}
	if err := b.client.Update(ctx, v); err != nil {
		return nil, fmt.Errorf("reserve volume %s: %w", v.Name, err)
	}
	return v, nil
}

// take writes the volume's name on the claim.
func (b *Controller) take(ctx context.Context, c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	if c.Spec.VolumeName == v.Name && c.Annotations[volume.BindCompleted] != "" {
		return c, nil
	}
	c = c.DeepCopy()
	if c.Spec.VolumeName != v.Name {
		c.Spec.VolumeName = v.Name
		annotate(&c.Annotations, volume.BoundByController, "yes")
	}
	annotate(&c.Annotations, volume.BindCompleted, "yes")
	// Kubernetes writes these before it asks for the volume; here they come with the write that is needed anyway.
	if by := v.Annotations[volume.ProvisionedBy]; by != "" {
		annotate(&c.Annotations, volume.StorageProvisioner, by)
		annotate(&c.Annotations, volume.BetaStorageProvisioner, by)
	}
	if err := b.client.Update(ctx, c); err != nil {
		return nil, fmt.Errorf("bind claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	return c, nil
}

func annotate(annotations *map[string]string, name, value string) {
	if *annotations == nil {
		*annotations = map[string]string{}
	}
	(*annotations)[name] = value
}

// setBound writes what the claim has got.
func (b *Controller) setBound(ctx context.Context, c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	next := c.DeepCopy()
	next.Status.AccessModes = v.Spec.AccessModes
	size := v.Spec.Capacity[corev1.ResourceStorage]
	// Afterwards the size is what has really been given: growing is more than writing it down.
	if next.Status.Phase != corev1.ClaimBound || volume.IsLocalFolder(v) {
		next.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: size}
	}
	next.Status.Phase = corev1.ClaimBound
	next.Status.CurrentVolumeAttributesClassName = v.Spec.VolumeAttributesClassName
	if equality.Semantic.DeepEqual(next.Status, c.Status) && slices.Equal(next.Status.AccessModes, c.Status.AccessModes) {
		return nil
	}
	if err := b.client.UpdateStatus(ctx, next); err != nil {
		return fmt.Errorf("update the status of claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	return nil
}

// grow gives a claim the size that it asks for by now. A folder has no size of its own: it is written down.
func (b *Controller) grow(ctx context.Context, c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	if !volume.Smaller(v, c) {
		return nil
	}
	if !volume.IsLocalFolder(v) {
		if was := c.Status.Capacity[corev1.ResourceStorage]; !was.IsZero() {
			b.events.Event(c, corev1.EventTypeNormal, "ExternalExpanding", "waiting for an external controller to expand this PVC")
		}
		return nil
	}
	next := v.DeepCopy()
	next.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: c.Spec.Resources.Requests[corev1.ResourceStorage]}
	if err := b.client.Update(ctx, next); err != nil {
		return fmt.Errorf("expand volume %s: %w", v.Name, err)
	}
	if err := b.setBound(ctx, c, next); err != nil {
		return err
	}
	b.events.Event(c, corev1.EventTypeNormal, "VolumeResizeSuccessful", "ExpandVolume succeeded for volume %s/%s", c.Namespace, c.Name)
	return nil
}
