package node_test

import (
	"slices"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func memory(limit string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit), corev1.ResourceCPU: resource.MustParse("50m")}
	return corev1.ResourceRequirements{Requests: list, Limits: list}
}

// pendsFor tells whether a resize waits for a reason.
func pendsFor(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodResizePending && c.Reason == reason
		})
	}
}

// resizeTest: a container is given more memory while it runs; what the node cannot give stays pending; a container that
// wants a restart for it gets one; what others leave is given to who waits for it.
func resizeTest(t *testing.T, w *world) {
	w.create(pod("growing", corev1.Container{Resources: memory("64Mi")}))
	w.wait("growing", "running", running)
	resize := func(limit string) {
		w.update("growing", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = memory(limit) })
	}
	has := func(limit string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			st := p.Status.ContainerStatuses[0]
			return running(p) && st.Resources.Limits.Memory().String() == limit && st.AllocatedResources.Memory().String() == limit
		}
	}
	resize("96Mi")
	p := w.wait("growing", "resized", has("96Mi"))
	require.Zero(t, p.Status.ContainerStatuses[0].RestartCount)
	on, err := w.cli.ContainerInspect(t.Context(), idOf(p), client.ContainerInspectOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 96<<20, on.Container.HostConfig.Memory)
	w.waitEvent("ResizeCompleted")

	resize("900Ti")
	pending := pendsFor(corev1.PodReasonInfeasible)
	p = w.wait("growing", "told that the node is too small", pending)
	require.Equal(t, "96Mi", p.Status.ContainerStatuses[0].Resources.Limits.Memory().String())

	w.update("growing", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = memory("80Mi")
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	})
	p = w.wait("growing", "restarted", func(p *corev1.Pod) bool { return has("80Mi")(p) && restarted(1)(p) })
	require.False(t, pending(p))

	w.mu.Lock()
	all := w.node.Status.Allocatable.Cpu().MilliValue()
	w.mu.Unlock()
	asksFor := func(milli int64) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}}
	}
	w.create(pod("shrinking", corev1.Container{Resources: asksFor(all - 100)}))
	w.wait("shrinking", "running", running)
	w.update("growing", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("150m")
		p.Spec.Containers[0].Resources.Limits[corev1.ResourceCPU] = resource.MustParse("150m")
	})
	w.wait("growing", "told to wait for room", pendsFor(corev1.PodReasonDeferred))
	w.update("shrinking", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = asksFor(all - 200) })
	w.wait("growing", "given the room", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].Resources.Requests.Cpu().MilliValue() == 150
	})
	for _, name := range []string{"growing", "shrinking"} {
		w.delete(name, 0)
		w.wait(name, "gone", gone)
	}
}
