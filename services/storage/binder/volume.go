package binder

import (
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/volume"
)

// volumePlan is what to do about a volume.
type volumePlan struct {
	phase corev1.PersistentVolumePhase
	// unbind takes the claim's name off the volume.
	unbind bool
	// remove deletes the volume, and with it what it holds.
	remove bool
	// reason and note say why the volume has failed.
	reason string
	note   *note
	// look is a claim that should be looked at: it is to be bound to this volume.
	look *corev1.PersistentVolumeClaim
}

// planVolume decides about a volume.
func planVolume(v *corev1.PersistentVolume, w *world) volumePlan {
	ref := v.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return volumePlan{phase: corev1.VolumeAvailable}
	}
	c := w.claim(ref)
	if c != nil && c.UID != ref.UID {
		c = nil // another one of the same name
	}
	switch {
	case c == nil:
		return reclaim(v)
	case c.Spec.VolumeName == "":
		return volumePlan{phase: v.Status.Phase, look: c}
	case c.Spec.VolumeName == v.Name:
		return volumePlan{phase: corev1.VolumeBound, look: c}
	case v.Annotations[volume.ProvisionedBy] != "" && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return reclaim(v) // it was made for a claim that has taken another one
	}
	return volumePlan{phase: v.Status.Phase, unbind: true}
}

// reclaim decides about a volume whose claim is gone.
func reclaim(v *corev1.PersistentVolume) volumePlan {
	released := volumePlan{phase: corev1.VolumeReleased}
	if v.Status.Phase == corev1.VolumeFailed {
		released.phase = corev1.VolumeFailed
	}
	by := v.Annotations[volume.ProvisionedBy]
	switch v.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimDelete:
		switch {
		case by == volume.LocalProvisioner:
			released.remove = v.DeletionTimestamp == nil
		case by != "": // its provisioner's business
		default:
			return failed(v, "VolumeFailedDelete", "error getting deleter volume plugin for volume \""+v.Name+"\": no deletable volume plugin matched")
		}
	case corev1.PersistentVolumeReclaimRecycle:
		return failed(v, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
	}
	return released
}

func failed(v *corev1.PersistentVolume, reason, message string) volumePlan {
	out := volumePlan{phase: corev1.VolumeFailed, reason: reason}
	if v.Status.Phase != corev1.VolumeFailed {
		out.note = warning(reason, "%s", message)
	}
	return out
}

// unbound returns a volume without its claim. Which claim may have it stays said where a user has said it.
func unbound(v *corev1.PersistentVolume) *corev1.PersistentVolume {
	out := v.DeepCopy()
	if out.Annotations[volume.BoundByController] == "" {
		out.Spec.ClaimRef.UID, out.Spec.ClaimRef.ResourceVersion = "", ""
		return out
	}
	delete(out.Annotations, volume.BoundByController)
	out.Spec.ClaimRef = nil
	return out
}
