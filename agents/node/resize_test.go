package node_test

import (
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

// resizeTest: a container is given more memory while it runs; what the node cannot give stays pending; a container that
// wants a restart for it gets one.
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
	pending := func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodResizePending && c.Reason == corev1.PodReasonInfeasible {
				return true
			}
		}
		return false
	}
	p = w.wait("growing", "told that the node is too small", pending)
	require.Equal(t, "96Mi", p.Status.ContainerStatuses[0].Resources.Limits.Memory().String())

	w.update("growing", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = memory("80Mi")
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	})
	p = w.wait("growing", "restarted", func(p *corev1.Pod) bool { return has("80Mi")(p) && restarted(1)(p) })
	require.False(t, pending(p))
	w.delete("growing", 0)
	w.wait("growing", "gone", gone)
}
