package admit

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Lack is a resource of which too little is left. Cpu counts in thousandths, everything else in its own unit.
type Lack struct {
	Name                      corev1.ResourceName
	Requested, Used, Capacity int64
}

func (l *Lack) String() string {
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", l.Name, l.Requested, l.Used, l.Capacity)
}

func (l *Lack) refusal() *Refusal { return &Refusal{"OutOf" + string(l.Name), l.String()} }

// counted are the resources that a node gives out, in the order in which they are looked at.
var counted = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// FirstLack says which of a node's resources does not suffice for a pod beside others; nil when all do.
func FirstLack(pod *corev1.Pod, allocatable corev1.ResourceList, others []*corev1.Pod) *Lack {
	asked := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	used := map[corev1.ResourceName]int64{}
	for _, other := range others {
		for name, q := range resourcehelper.PodRequests(other, resourcehelper.PodResourcesOptions{}) {
			used[name] += amount(name, q)
		}
	}
	for _, name := range counted {
		capacity, known := allocatable[name]
		l := Lack{name, amount(name, asked[name]), used[name], amount(name, capacity)}
		if known && l.Requested > 0 && l.Requested > l.Capacity-l.Used {
			return &l
		}
	}
	return nil
}

func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}
