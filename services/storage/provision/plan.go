package provision

import (
	"errors"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/internal/volume"
)

// refusal says why a local folder cannot be what a claim asks for; nil when it can.
func refusal(c *corev1.PersistentVolumeClaim) error {
	switch {
	case volume.Mode(c.Spec.VolumeMode) == corev1.PersistentVolumeBlock:
		return errors.New("local folders cannot be used as block devices")
	case c.Spec.DataSource != nil || c.Spec.DataSourceRef != nil:
		return errors.New("local folders cannot be filled from a data source")
	case c.Spec.Selector != nil:
		return errors.New("claim.Spec.Selector is not supported")
	}
	return nil
}

// choose returns the node for a claim's volume: the one that the scheduler has selected or, for classes that bind at
// once, the ready one with the fewest volumes. It is nil when there is none.
func choose(selected string, nodes []*corev1.Node, volumes []*corev1.PersistentVolume) *corev1.Node {
	load := map[string]int{}
	for _, v := range volumes {
		load[v.Labels[volume.NodeLabel]]++
	}
	var best *corev1.Node
	for _, n := range nodes {
		switch {
		case selected != "":
			if n.Name == selected {
				return n
			}
		case !usable(n):
		case best == nil || load[n.Name] < load[best.Name] || load[n.Name] == load[best.Name] && n.Name < best.Name:
			best = n
		}
	}
	return best
}

func usable(n *corev1.Node) bool {
	return n.Annotations[volume.FoldersAnnotation] != "" && !n.Spec.Unschedulable && conditions.NodeReady(n)
}

// folder is the volume that a claim gets on a node. Its name follows from the claim, so that a claim never gets two.
func folder(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *corev1.Node) *corev1.PersistentVolume {
	name := "pvc-" + string(c.UID)
	out := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{volume.NodeLabel: n.Name}, Finalizers: []string{volume.FolderFinalizer},
			Annotations: map[string]string{volume.ProvisionedBy: volume.LocalProvisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: c.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes: c.Spec.AccessModes, StorageClassName: class.Name, MountOptions: class.MountOptions, VolumeMode: c.Spec.VolumeMode,
			VolumeAttributesClassName: c.Spec.VolumeAttributesClassName,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{
				Path: filepath.Join(n.Annotations[volume.FoldersAnnotation], fmt.Sprintf("%s_%s_%s", c.Namespace, c.Name, name)),
			}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{hostname(n)}}},
			}}}},
		},
	}
	if class.ReclaimPolicy != nil {
		out.Spec.PersistentVolumeReclaimPolicy = *class.ReclaimPolicy
	}
	return out
}

func hostname(n *corev1.Node) string {
	if label := n.Labels[corev1.LabelHostname]; label != "" {
		return label
	}
	return n.Name
}
