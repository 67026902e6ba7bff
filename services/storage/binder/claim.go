package binder

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"karve.dev/karve/internal/volume"
)

// world is what decisions are made from.
type world struct {
	// volume and claim return nil for what certainly does not exist.
	volume func(name string) *corev1.PersistentVolume
	claim  func(ref *corev1.ObjectReference) *corev1.PersistentVolumeClaim
	// volumes are those of a class.
	volumes   func(class string) []*corev1.PersistentVolume
	class     func(name string) *storagev1.StorageClass
	byDefault func() *storagev1.StorageClass
	// waiting returns the name of a pod that uses a claim and has no node yet; "" for none.
	waiting func(c *corev1.PersistentVolumeClaim) string
}

// note is an event to record.
type note struct{ kind, reason, message string }

func normal(reason, format string, args ...any) *note {
	return &note{corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...)}
}

func warning(reason, format string, args ...any) *note {
	return &note{corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...)}
}

// claimPlan is what to do about a claim. At most one of the first four is set.
type claimPlan struct {
	// bind is the volume that the claim gets, or keeps.
	bind *corev1.PersistentVolume
	// provision is the class by which a volume is to be made.
	provision *storagev1.StorageClass
	// class is the default class that the claim is to have.
	class string
	// phase is the claim's, where it changes.
	phase corev1.PersistentVolumeClaimPhase
	note  *note
}

// planClaim decides about a claim.
func planClaim(c *corev1.PersistentVolumeClaim, w *world) claimPlan {
	switch {
	case c.Annotations[volume.BindCompleted] != "":
		return planBound(c, w)
	case c.DeletionTimestamp != nil:
		return claimPlan{}
	case c.Spec.VolumeName != "":
		return planNamed(c, w)
	}
	name, said := volume.ClassOfClaim(c)
	if !said {
		if class := w.byDefault(); class != nil {
			return claimPlan{class: class.Name}
		}
	}
	class := w.class(name)
	var fits func(*corev1.PersistentVolume) bool
	if volume.Waits(class) {
		// Which free volume it gets depends on the pod's node: the scheduler reserves one.
		fits = func(v *corev1.PersistentVolume) bool { return volume.IsFor(v, c) }
	}
	if best, ok := volume.Best(w.volumes(name), c, fits); ok {
		return claimPlan{bind: best.PersistentVolume}
	}
	pending := claimPlan{phase: corev1.ClaimPending}
	switch {
	case volume.Waits(class) && c.Annotations[volume.SelectedNode] == "":
		pending.note = normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
		if pod := w.waiting(c); pod != "" {
			pending.note = normal("WaitForPodScheduled", "waiting for pod %s to be scheduled", pod)
		}
	case name == "":
		pending.note = normal("FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	case class == nil:
		pending.note = warning("ProvisioningFailed", "storageclass.storage.k8s.io %q not found", name)
	case class.Provisioner == volume.NoProvisioner:
		pending.note = warning("ProvisioningFailed", "no volume plugin matched name: %s", class.Provisioner)
	default:
		return claimPlan{provision: class}
	}
	return pending
}

// planNamed decides about a claim that asks for one certain volume.
func planNamed(c *corev1.PersistentVolumeClaim, w *world) claimPlan {
	pending := claimPlan{phase: corev1.ClaimPending}
	v := w.volume(c.Spec.VolumeName)
	switch {
	case v == nil:
	case volume.IsFor(v, c):
		return claimPlan{bind: v}
	case v.Spec.ClaimRef != nil:
		pending.note = warning("FailedBinding", "volume %q already bound to a different claim.", v.Name)
	default:
		why := volume.Mismatch(v, c)
		if why == nil {
			return claimPlan{bind: v}
		}
		pending.note = warning("VolumeMismatch", "Cannot bind to requested volume %q: %v", v.Name, why)
	}
	return pending
}

// planBound decides about a claim that has been bound before: it gets no other volume any more.
func planBound(c *corev1.PersistentVolumeClaim, w *world) claimPlan {
	lost := func(reason, message string) claimPlan {
		return claimPlan{phase: corev1.ClaimLost, note: warning(reason, "%s", message)}
	}
	if c.Spec.VolumeName == "" {
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	}
	v := w.volume(c.Spec.VolumeName)
	switch {
	case v == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v.Spec.ClaimRef == nil || volume.IsFor(v, c):
		return claimPlan{bind: v}
	}
	return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}
