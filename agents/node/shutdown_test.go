package node_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime/simulated"
	"karve.dev/karve/agents/node/shutdown"
)

func TestMachineGoesDown(t *testing.T) {
	p := newPlane(t, "10.233.4.0/24")
	agent := simulate(t, p, simulated.New(), "sim-4", func(c *node.Config) { c.Shutdown = shutdown.Config{Grace: 10 * time.Second, Critical: 5 * time.Second} })
	p.create(pod("app", corev1.Container{}))
	system := pod("system", corev1.Container{})
	system.Spec.Priority = new(int32(2_000_000_000))
	p.create(system)
	for _, name := range []string{"app", "system"} {
		p.wait(name, "running", running)
	}
	require.NoError(t, agent.Shutdown(context.Background(), 0))
	for _, name := range []string{"app", "system"} {
		ended := p.wait(name, "ended, and told", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodFailed })
		require.Equal(t, "Terminated", ended.Status.Reason)
		require.Equal(t, "Pod was terminated in response to imminent node shutdown.", ended.Status.Message)
	}
	late := pod("late", corev1.Container{})
	p.create(late)
	require.Equal(t, "NodeShutdown", p.wait("late", "refused", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodFailed }).Status.Reason)
	p.until("the node is not ready", func() bool {
		return nodeReady(p).Status == corev1.ConditionFalse && nodeReady(p).Message == "node is shutting down"
	})
}
