// Package volume holds what the scheduler, the storage service, the API and the agents must agree on about persistent
// volumes: names, and which volume suits which claim. It is pure.
package volume

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations, as Kubernetes names them.
const (
	// SelectedNode, on a claim, is where the scheduler wants its volume.
	SelectedNode = "volume.kubernetes.io/selected-node"
	// BindCompleted, on a claim, means that it has been bound once: losing its volume then is losing data.
	BindCompleted = "pv.kubernetes.io/bind-completed"
	// BoundByController, on a claim or volume, means that no user asked for just this pair.
	BoundByController = "pv.kubernetes.io/bound-by-controller"
	// ProvisionedBy, on a volume, names what made it.
	ProvisionedBy = "pv.kubernetes.io/provisioned-by"
	// StorageProvisioner, on a claim, names what is to make its volume.
	StorageProvisioner     = "volume.kubernetes.io/storage-provisioner"
	BetaStorageProvisioner = "volume.beta.kubernetes.io/storage-provisioner"
	// DefaultClass marks the class of claims that name none.
	DefaultClass = "storageclass.kubernetes.io/is-default-class"
)

// NoProvisioner is the provisioner of classes whose volumes are made by hand.
const NoProvisioner = "kubernetes.io/no-provisioner"

// Local folders: the built-in kind of storage. A volume is a folder below its node's data directory; the storage
// service makes the PersistentVolume, the node's agent the folder.
const (
	// LocalProvisioner makes them.
	LocalProvisioner = "karve.dev/local"
	// NodeLabel, on such a volume, is the node that keeps it.
	NodeLabel = "karve.dev/node"
	// FolderFinalizer, on such a volume, is taken away when its node has removed the folder.
	FolderFinalizer = "karve.dev/local-folder"
	// FoldersAnnotation, on a Node, is where its folders lie.
	FoldersAnnotation = "karve.dev/volumes"
)

// Finalizers that protect what is in use, as Kubernetes names them.
const (
	ClaimProtection  = "kubernetes.io/pvc-protection"
	VolumeProtection = "kubernetes.io/pv-protection"
)

// ClaimName returns the claim that a pod's volume stands for; "" for other kinds of volumes.
func ClaimName(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// ClaimNames returns the names of all claims of a pod.
func ClaimNames(pod *corev1.Pod) []string {
	var out []string
	for i := range pod.Spec.Volumes {
		if name := ClaimName(pod, &pod.Spec.Volumes[i]); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// OwnedBy says whether an ephemeral volume's claim was made for this very pod.
func OwnedBy(claim *corev1.PersistentVolumeClaim, pod *corev1.Pod) bool {
	return metav1.IsControlledBy(claim, pod)
}

// ClassOfClaim returns the name of a claim's class; ok is false when it leaves that to the cluster's default.
func ClassOfClaim(c *corev1.PersistentVolumeClaim) (name string, ok bool) {
	if old, has := c.Annotations[corev1.BetaStorageClassAnnotation]; has {
		return old, true
	}
	if c.Spec.StorageClassName == nil {
		return "", false
	}
	return *c.Spec.StorageClassName, true
}

// ClassOfVolume returns the name of a volume's class.
func ClassOfVolume(v *corev1.PersistentVolume) string {
	if old, has := v.Annotations[corev1.BetaStorageClassAnnotation]; has {
		return old
	}
	return v.Spec.StorageClassName
}

// Waits says whether claims of a class are bound only when a pod needs them.
func Waits(class *storagev1.StorageClass) bool {
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// IsDefault says whether a class is for claims that name none.
func IsDefault(class *storagev1.StorageClass) bool {
	return class.Annotations[DefaultClass] == "true" || class.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true"
}

// Default returns the default class: of several the newest, nil for none.
func Default(classes []*storagev1.StorageClass) *storagev1.StorageClass {
	var best *storagev1.StorageClass
	for _, c := range classes {
		if !IsDefault(c) {
			continue
		}
		newer := best != nil && (best.CreationTimestamp.Before(&c.CreationTimestamp) || best.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < best.Name)
		if best == nil || newer {
			best = c
		}
	}
	return best
}

// IsBound says whether a claim has its volume, for good.
func IsBound(c *corev1.PersistentVolumeClaim) bool {
	return c.Spec.VolumeName != "" && c.Annotations[BindCompleted] != ""
}

// IsLocalFolder says whether a volume is one of the built-in kind.
func IsLocalFolder(v *corev1.PersistentVolume) bool {
	return v.Annotations[ProvisionedBy] == LocalProvisioner && v.Spec.Local != nil
}
