package eviction

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Candidate is a running pod with what it uses.
type Candidate struct {
	Pod        *corev1.Pod
	Containers []Use
	// Volumes is what its volumes take on the node's disk.
	Volumes, VolumeInodes int64
}

// Use is what one container uses.
type Use struct {
	Name                    string
	Memory                  int64
	Layer, Logs             int64
	LayerInodes, LogsInodes int64
	Processes               int64
}

// critical is the priority from which on a pod belongs to the node or the cluster.
const critical = 2_000_000_000

// spared are pods that are never evicted: the node's own, and those without which nothing works.
func spared(pod *corev1.Pod) bool {
	source := pod.Annotations["kubernetes.io/config.source"]
	return source != "" && source != "api" || pod.Annotations["kubernetes.io/config.mirror"] != "" || priority(pod) >= critical
}

func priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// measures say how much of what is short a container uses; separate tells whether images have a disk of their own.
func (u *Use) of(s Signal, separate bool) int64 {
	switch s {
	case MemoryAvailable:
		return u.Memory
	case PIDAvailable:
		return u.Processes
	case ImageAvailable:
		return u.Layer
	case ImageInodesFree:
		return u.LayerInodes
	case NodeInodesFree:
		if separate {
			return u.LogsInodes
		}
		return u.LogsInodes + u.LayerInodes
	}
	if separate {
		return u.Logs
	}
	return u.Logs + u.Layer
}

// standing is how a pod stands in the order of eviction.
type standing struct {
	Candidate
	used, over int64
	exceeds    bool
}

// Rank puts those that may be evicted in order, the first to go first: who uses more than it has asked for, then who
// matters least, then who exceeds its request the most. Nobody asks for processes: there it is priority, then number.
func Rank(candidates []Candidate, s Signal, separate bool) []Candidate {
	var all []standing
	for _, c := range candidates {
		if spared(c.Pod) {
			continue
		}
		one := standing{Candidate: c}
		for i := range c.Containers {
			one.used += c.Containers[i].of(s, separate)
		}
		switch s {
		case NodeDiskAvailable:
			one.used += c.Volumes
		case NodeInodesFree:
			one.used += c.VolumeInodes
		}
		one.over = one.used - requested(c.Pod, s.Resource())
		one.exceeds = one.over > 0 && s != PIDAvailable
		all = append(all, one)
	}
	slices.SortStableFunc(all, func(a, b standing) int {
		if a.exceeds != b.exceeds {
			if a.exceeds {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(priority(a.Pod), priority(b.Pod)), cmp.Compare(b.over, a.over))
	})
	out := make([]Candidate, len(all))
	for i := range all {
		out[i] = all[i].Candidate
	}
	return out
}

// requested is what a pod has asked for.
func requested(pod *corev1.Pod, name corev1.ResourceName) int64 {
	if pod.Spec.Resources != nil {
		if q, ok := pod.Spec.Resources.Requests[name]; ok {
			return q.Value()
		}
	}
	var sum int64
	for i := range pod.Spec.Containers {
		sum += request(&pod.Spec.Containers[i], name)
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sum += request(c, name)
		}
	}
	return sum
}

func request(c *corev1.Container, name corev1.ResourceName) int64 {
	q := c.Resources.Requests[name]
	return q.Value()
}

// Message tells a pod's owner why it had to go.
func Message(p Passed, c Candidate, separate bool) string {
	name := p.Signal.Resource()
	text := fmt.Sprintf("The node was low on resource: %v. Threshold quantity: %s, available: %s. ", name, p.quantity(p.below(p.Observation)), p.quantity(p.Available))
	for i := range c.Containers {
		use := &c.Containers[i]
		asked := resource.NewQuantity(0, resource.BinarySI)
		for j := range c.Pod.Spec.Containers {
			if q, ok := c.Pod.Spec.Containers[j].Resources.Requests[name]; ok && c.Pod.Spec.Containers[j].Name == use.Name {
				asked = &q
			}
		}
		if used := use.of(p.Signal, separate); used > asked.Value() && (name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage) {
			text += fmt.Sprintf("Container %s was using %s, request is %s, has larger consumption of %v. ", use.Name, shown(used), asked, name)
		}
	}
	return text
}

// shown is an amount in Ki, as kubelets write it.
func shown(bytes int64) string { return fmt.Sprintf("%dKi", bytes>>10) }
