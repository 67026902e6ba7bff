package node_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

func TestStatusOutlivesContainers(t *testing.T) {
	w := newWorld(t, 15)
	p := pod("lost", corev1.Container{})
	user, group := int64(1234), int64(5678)
	p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &group, SupplementalGroups: []int64{99}}
	w.create(p)
	p = w.wait("lost", "running", running)
	require.NotNil(t, p.Status.ContainerStatuses[0].User)
	as := p.Status.ContainerStatuses[0].User.Linux
	require.Equal(t, user, as.UID)
	require.Equal(t, group, as.GID)
	require.Contains(t, as.SupplementalGroups, int64(99))

	// While the agent is away everything is removed.
	w.stop()
	containers, err := w.rt.List(context.Background(), runtime.Owner{Cluster: w.cluster, Node: nodeName})
	require.NoError(t, err)
	for _, c := range containers {
		require.NoError(t, w.rt.Remove(context.Background(), c.ID))
	}
	w.start()
	p = w.wait("lost", "running again", restarted(1))
	last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated
	require.NotNil(t, last)
	require.Equal(t, "ContainerStatusUnknown", last.Reason)
	require.EqualValues(t, 137, last.ExitCode)

	// A pod whose time is up before it has begun.
	late, seconds := pod("late", corev1.Container{}), int64(1)
	late.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("never")}}}
	late.Spec.ActiveDeadlineSeconds = &seconds
	w.create(late)
	late = w.wait("late", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	require.Equal(t, "DeadlineExceeded", late.Status.Reason)
	require.NotNil(t, late.Status.ContainerStatuses[0].State.Terminated)
	require.Equal(t, "ContainerStatusUnknown", late.Status.ContainerStatuses[0].State.Terminated.Reason)
}
