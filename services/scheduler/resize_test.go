package scheduler_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestAResizeKeepsItsRoom: until its node has taken a resize in, a pod counts with the most of what it asks for, what it was
// promised and what it has, but for a resize that its node is too small for.
func TestAResizeKeepsItsRoom(t *testing.T) {
	c := start(t)
	c.addNode("n1", "4")
	c.addPod("grows", "1")
	c.eventually("grows", boundTo("n1"))
	c.has("grows", "1", "")

	c.resize("grows", "3")
	c.addPod("waits", "2")
	c.eventually("waits", unschedulable("0/1 nodes are available: 1 Insufficient cpu."))
	c.has("grows", "1", corev1.PodReasonInfeasible)
	c.eventually("waits", boundTo("n1"))
	c.has("waits", "2", "")

	c.resize("waits", "1")
	c.addPod("late", "2")
	c.eventually("late", unschedulable("0/1 nodes are available: 1 Insufficient cpu."))
	c.has("waits", "1", "")
	c.eventually("late", boundTo("n1"))
}

func cpus(n string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(n)}
}

func (c *cluster) resize(pod, cpu string) {
	p := c.get(pod)
	p.Spec.Containers[0].Resources.Requests = cpus(cpu)
	require.NoError(c.t, c.UpdateSubresource(c.t.Context(), p, "resize"))
}

// has reports what a pod runs with, as its node does, and why it has no more yet.
func (c *cluster) has(pod, cpu, pending string) {
	p := c.get(pod)
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "c", AllocatedResources: cpus(cpu), Resources: &corev1.ResourceRequirements{Requests: cpus(cpu)},
	}}
	if pending != "" {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: pending})
	}
	require.NoError(c.t, c.UpdateStatus(c.t.Context(), p))
}

func (c *cluster) get(pod string) *corev1.Pod {
	p := &corev1.Pod{}
	require.NoError(c.t, c.Get(c.t.Context(), p, "default", pod))
	return p
}
