package podstate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/runtime"
)

func limited(p *corev1.Pod) { seconds := int64(5); p.Spec.ActiveDeadlineSeconds = &seconds }

func TestPodThatEndsBeforeItBegins(t *testing.T) {
	w := newWorld("a").change(limited).started(time.Minute)
	st := Status(w.pod, w.obs, now)
	require.Equal(t, corev1.PodFailed, st.Phase)
	end := st.ContainerStatuses[0].State.Terminated
	require.NotNil(t, end)
	require.Equal(t, "ContainerStatusUnknown", end.Reason)
	require.EqualValues(t, 137, end.ExitCode)
	require.Equal(t, "The container could not be located when the pod was terminated", end.Message)
	w.obs.Previous = st
	require.Equal(t, st, Status(w.pod, w.obs, now.Add(time.Hour)), "and so it stays")

	crashed := newWorld("a").change(limited).started(time.Minute).has("a", 1, dead, code(3), next(5*time.Minute))
	require.EqualValues(t, 3, Status(crashed.pod, crashed.obs, now).ContainerStatuses[0].State.Terminated.ExitCode, "nothing waits for a restart")

	// What waited for an init container has not failed.
	inits := newWorld("a").change(limited).change(withInit("i")).started(time.Minute)
	st = Status(inits.pod, inits.obs, now)
	require.Equal(t, "PodInitializing", st.ContainerStatuses[0].State.Waiting.Reason)
	require.NotNil(t, st.InitContainerStatuses[0].State.Waiting)

	gone := newWorld("a").deleted(0)
	st = Status(gone.pod, gone.obs, now)
	require.Equal(t, corev1.PodFailed, st.Phase)
	require.Equal(t, "ContainerStatusUnknown", st.ContainerStatuses[0].State.Terminated.Reason)
}

func TestContainersThatWentUnseen(t *testing.T) {
	w := newWorld("a").sandbox(0, up).has("a", 2, up)
	w.obs.Previous = Status(w.pod, w.obs, now)
	w.obs.Sandboxes, w.obs.Containers, w.obs.Wired = nil, map[string][]runtime.Container{}, false
	check := func(st corev1.PodStatus) {
		t.Helper()
		last := st.ContainerStatuses[0].LastTerminationState.Terminated
		require.NotNil(t, last)
		require.Equal(t, "ContainerStatusUnknown", last.Reason)
		require.EqualValues(t, 137, last.ExitCode)
	}
	at := Status(w.pod, w.obs, now)
	require.Equal(t, "ContainerCreating", at.ContainerStatuses[0].State.Waiting.Reason)
	check(at)
	w.sandbox(0, up).has("a", 3, up)
	check(Status(w.pod, w.obs, now)) // in one step
	w.obs.Previous = at
	after := Status(w.pod, w.obs, now)
	check(after)
	require.EqualValues(t, 3, after.ContainerStatuses[0].RestartCount)
	w.obs.Previous = after
	check(Status(w.pod, w.obs, now))
}

func TestStatusTellsWhatAContainerHas(t *testing.T) {
	requests := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	w := newWorld("a").change(func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = requests
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
			{Name: "v", MountPath: "/v", ReadOnly: true}, {Name: "w", MountPath: "/w"},
			{Name: "x", MountPath: "/x", ReadOnly: true, RecursiveReadOnly: new(corev1.RecursiveReadOnlyIfPossible)},
		}
	})
	w.obs.RecursiveReadOnly = true
	disabled, enabled := corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled
	mounts := []corev1.VolumeMountStatus{
		{Name: "v", MountPath: "/v", ReadOnly: true, RecursiveReadOnly: &disabled}, {Name: "w", MountPath: "/w"},
		{Name: "x", MountPath: "/x", ReadOnly: true, RecursiveReadOnly: &enabled},
	}
	require.Equal(t, mounts, Status(w.pod, w.obs, metav1.Now().Time).ContainerStatuses[0].VolumeMounts)
	w.sandbox(0, up).has("a", 0, up)
	w.obs.Users = map[string]corev1.LinuxContainerUser{"a-0": {UID: 1, GID: 2, SupplementalGroups: []int64{3}}}
	st := Status(w.pod, w.obs, now)
	have := st.ContainerStatuses[0]
	require.Equal(t, requests, have.AllocatedResources)
	require.Equal(t, requests, have.Resources.Requests)
	require.EqualValues(t, 1, have.User.Linux.UID)
	w.obs.Previous, w.obs.Users = st, nil
	require.Equal(t, st, Status(w.pod, w.obs, now), "an agent that starts again knows it from the status")
}
