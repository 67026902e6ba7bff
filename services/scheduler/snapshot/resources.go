package snapshot

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
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

func (r *Resources) max(other *Resources) {
	r.MilliCPU = max(r.MilliCPU, other.MilliCPU)
	r.Memory = max(r.Memory, other.Memory)
	r.Ephemeral = max(r.Ephemeral, other.Ephemeral)
	for name, v := range other.Extended {
		if r.Extended == nil {
			r.Extended = map[corev1.ResourceName]int64{}
		}
		r.Extended[name] = max(r.Extended[name], v)
	}
}

func (r *Resources) clone() Resources {
	out := *r
	out.Extended = maps.Clone(r.Extended)
	return out
}

// RequestsOf returns what a pod needs at its peak: its containers and sidecars together, or an init container together
// with the sidecars started before it, whichever is more (KEP-753); pod-level requests (KEP-2837) take precedence.
func RequestsOf(pod *corev1.Pod) Resources {
	var running, sidecars, peak Resources
	for i := range pod.Spec.Containers {
		r := FromList(pod.Spec.Containers[i].Resources.Requests)
		running.Add(&r, 1)
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		r := FromList(c.Resources.Requests)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			running.Add(&r, 1)
			sidecars.Add(&r, 1)
			peak.max(&sidecars)
			continue
		}
		r.Add(&sidecars, 1)
		peak.max(&r)
	}
	total := running.clone()
	total.max(&peak)
	if pod.Spec.Resources != nil {
		override(&total, pod.Spec.Resources.Requests)
	}
	overhead := FromList(pod.Spec.Overhead)
	total.Add(&overhead, 1)
	total.Pods = 1
	return total
}

func override(total *Resources, list corev1.ResourceList) {
	if q, ok := list[corev1.ResourceCPU]; ok {
		total.MilliCPU = q.MilliValue()
	}
	if q, ok := list[corev1.ResourceMemory]; ok {
		total.Memory = q.Value()
	}
}
