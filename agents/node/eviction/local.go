package eviction

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Limited tells whether a pod bounds what it may write, so that it has to be measured.
func Limited(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if e := pod.Spec.Volumes[i].EmptyDir; e != nil && bounded(e) {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if _, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceEphemeralStorage]; ok {
			return true
		}
	}
	return false
}

// bounded is an emptyDir with a limit that nothing else keeps: one in memory cannot grow beyond its own.
func bounded(e *corev1.EmptyDirVolumeSource) bool {
	return e.SizeLimit != nil && e.SizeLimit.Sign() > 0 && e.Medium != corev1.StorageMediumMemory
}

// The limits that a pod may have exceeded, by the names that a kubelet's metrics have for them.
const (
	volumeLimit    Signal = "emptydirfs.limit"
	podLimit       Signal = "ephemeralpodfs.limit"
	containerLimit Signal = "ephemeralcontainerfs.limit"
)

// Exceeded says why a pod that has written more than it may must go, or "". Volumes are sizes by name.
func Exceeded(c Candidate, volumes map[string]int64) (limit Signal, message string) {
	for i := range c.Pod.Spec.Volumes {
		v := &c.Pod.Spec.Volumes[i]
		if v.EmptyDir != nil && bounded(v.EmptyDir) && volumes[v.Name] > v.EmptyDir.SizeLimit.Value() {
			return volumeLimit, fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
		}
	}
	written := map[string]int64{}
	total := c.Volumes
	for i := range c.Containers {
		use := &c.Containers[i]
		written[use.Name] = use.Layer + use.Logs
		total += use.Layer + use.Logs
	}
	sum := resource.NewQuantity(0, resource.BinarySI) // containers without a limit add nothing to it, as on a kubelet
	for i := range c.Pod.Spec.Containers {
		sum.Add(c.Pod.Spec.Containers[i].Resources.Limits[corev1.ResourceEphemeralStorage])
	}
	if sum.Sign() > 0 && total > sum.Value() {
		return podLimit, fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", sum)
	}
	for i := range c.Pod.Spec.Containers {
		one := &c.Pod.Spec.Containers[i]
		if limit, ok := one.Resources.Limits[corev1.ResourceEphemeralStorage]; ok && written[one.Name] > limit.Value() {
			return containerLimit, fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", one.Name, limit.String())
		}
	}
	return "", ""
}
