package snapshot

import (
	corev1 "k8s.io/api/core/v1"
	helpers "k8s.io/component-helpers/resource"
)

// Resources is an amount of everything that a node has and pods ask for.
type Resources struct {
	MilliCPU  int64
	Memory    int64 // bytes
	Ephemeral int64 // bytes
	Pods      int64
	// Extended holds the rest (hugepages, devices) by name, in units.
	Extended map[corev1.ResourceName]int64
}

// Add adds sign times other; sign is 1 or -1.
func (r *Resources) Add(other *Resources, sign int64) {
	r.MilliCPU += sign * other.MilliCPU
	r.Memory += sign * other.Memory
	r.Ephemeral += sign * other.Ephemeral
	r.Pods += sign * other.Pods
	for name, v := range other.Extended {
		if r.Extended == nil {
			r.Extended = map[corev1.ResourceName]int64{}
		}
		r.Extended[name] += sign * v
	}
}

// FromList reads a resource list.
func FromList(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.Ephemeral = q.Value()
		case corev1.ResourcePods:
			r.Pods = q.Value()
		default:
			if r.Extended == nil {
				r.Extended = map[corev1.ResourceName]int64{}
			}
			r.Extended[name] = q.Value()
		}
	}
	return r
}

// frees says whether less of something is asked for than before.
func (r *Resources) frees(before *Resources) bool {
	if r.MilliCPU < before.MilliCPU || r.Memory < before.Memory || r.Ephemeral < before.Ephemeral {
		return true
	}
	for name, v := range before.Extended {
		if r.Extended[name] < v {
			return true
		}
	}
	return false
}

// RequestsOf returns what a pod takes at its peak: its containers and sidecars together, or an init container together with
// the sidecars started before it, whichever is more (KEP-753); pod-level requests (KEP-2837) take precedence. While a resize
// is under way that is the most of what it asks for, what its node has promised and what it has (KEP-1287).
func RequestsOf(pod *corev1.Pod) Resources {
	total := FromList(helpers.PodRequests(pod, helpers.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}))
	total.Pods = 1
	return total
}
