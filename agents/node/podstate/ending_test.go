package podstate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestPodThatTheNodeEnds(t *testing.T) {
	w := newWorld("a").change(withSidecar("s")).sandbox(0, up).has("s", 0, up).has("a", 0, up)
	w.obs.Ending = &Ending{Reason: "Evicted", Message: "why", Grace: 3 * time.Second}
	require.Equal(t, []string{"Stop a-0 in 3s"}, w.plan())
	st := Status(w.pod, w.obs, now)
	require.Equal(t, corev1.PodRunning, st.Phase, "as long as something runs")
	require.Empty(t, st.Reason)
	disrupted := func(st corev1.PodStatus) {
		t.Helper()
		for _, c := range st.Conditions {
			if c.Type == corev1.DisruptionTarget {
				require.Equal(t, corev1.ConditionTrue, c.Status)
				require.Equal(t, "TerminationByKubelet", c.Reason)
				require.Equal(t, "why", c.Message)
				return
			}
		}
		require.Fail(t, "the pod is not marked as disrupted")
	}
	disrupted(st)

	gone := newWorld("a").change(withSidecar("s")).sandbox(0, up).has("s", 0, dead).has("a", 0, dead)
	gone.obs.Ending = w.obs.Ending
	require.Equal(t, []string{"Remove sandbox-0"}, gone.plan(), "nothing is restarted, and the containers stay for their logs")
	st = Status(gone.pod, gone.obs, now)
	require.Equal(t, corev1.PodFailed, st.Phase)
	require.Equal(t, "Evicted", st.Reason)
	require.Equal(t, "why", st.Message)
	disrupted(st)

	// An agent that starts again knows it from the status.
	again := newWorld("a").sandbox(0, up).has("a", 0, dead)
	again.obs.Previous = st
	again.pod.Status = st
	after := Status(again.pod, again.obs, now)
	require.Equal(t, corev1.PodFailed, after.Phase)
	require.Equal(t, "Evicted", after.Reason)
	disrupted(after)
}
