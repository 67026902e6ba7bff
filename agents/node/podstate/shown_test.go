package podstate

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// rule gives the first container a policy of its own: Never, but for one exit code.
func rule(action corev1.ContainerRestartRuleAction, code int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c, policy := &p.Spec.Containers[0], corev1.ContainerRestartPolicyNever
		c.RestartPolicy = &policy
		c.RestartPolicyRules = []corev1.ContainerRestartRule{{
			Action:    action,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{code}},
		}}
	}
}

func TestRestartRules(t *testing.T) {
	one := rule(corev1.ContainerRestartRuleActionRestart, 42)
	all := rule(corev1.ContainerRestartRuleActionRestartAllContainers, 42)
	ran := func(containers ...string) func(*world) *world {
		return func(w *world) *world {
			for _, name := range containers {
				w.obs.Previous.ContainerStatuses = append(w.obs.Previous.ContainerStatuses, corev1.ContainerStatus{
					Name: name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
				})
			}
			return w
		}
	}
	for what, c := range map[string]struct {
		world *world
		want  []string
	}{
		"a code with a rule":      {newWorld("a").change(never).change(one).sandbox(0, up).has("a", 0, dead, code(42)), []string{"Start a/1 then 10s"}},
		"a code without":          {newWorld("a").change(never).change(one).sandbox(0, up).has("a", 0, dead, code(43)), []string{"Remove sandbox-0"}},
		"all: the others stop":    {newWorld("a", "b").change(all).sandbox(0, up).has("a", 0, dead, code(42)).has("b", 0, up), []string{"Stop b-0 in 30s"}},
		"then they go":            {newWorld("a", "b").change(withInit("i")).change(all).sandbox(0, up).has("i", 0, dead).has("a", 0, dead, code(42)).has("b", 0, dead), []string{"Remove b-0", "Remove i-0"}},
		"the one that asked":      {newWorld("a", "b").change(all).sandbox(0, up).has("a", 0, dead, code(42)), []string{"Remove a-0"}},
		"and all begin anew":      {ran("a", "b")(newWorld("a", "b").change(all).sandbox(0, up)), []string{"Start a/1 then 10s", "Start b/1 then 10s"}},
		"not without a delay":     {newWorld("a", "b").change(all).sandbox(0, up).has("a", 1, dead, code(42), next(10*time.Second)).has("b", 1, up), []string{"wake in 9s"}},
		"a deleted pod only ends": {newWorld("a", "b").change(all).sandbox(0, up).has("a", 0, dead, code(42)).has("b", 0, dead).deleted(5), []string{"Remove a-0", "Remove b-0", "Remove sandbox-0"}},
	} {
		t.Run(what, func(t *testing.T) { require.Equal(t, c.want, c.world.plan()) })
	}
}

// TestShownAsByAKubelet holds what was found by comparison with one.
func TestShownAsByAKubelet(t *testing.T) {
	w := newWorld("b", "a").change(withInit("i")).change(withSidecar("s")).change(rule(corev1.ContainerRestartRuleActionRestartAllContainers, 42))
	w.pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x/open"}, {ConditionType: "x/none"}}
	w.pod.Status.Conditions = []corev1.PodCondition{{Type: "x/open", Status: corev1.ConditionFalse}}
	st := Status(w.pod, w.obs, now)
	var order []corev1.PodConditionType
	for _, c := range st.Conditions {
		order = append(order, c.Type)
	}
	require.Equal(t, []corev1.PodConditionType{
		"x/open", corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled, corev1.AllContainersRestarting,
	}, order)
	require.Equal(t, "no pod sandbox exists", condition0(st, corev1.PodReadyToStartContainers).Message)
	require.Equal(t, []string{"a", "b"}, []string{st.ContainerStatuses[0].Name, st.ContainerStatuses[1].Name})
	require.Equal(t, "containers with unready status: [s b a]", condition0(st, corev1.ContainersReady).Message)

	w.sandbox(0, up).has("i", 0, dead).has("s", 0, up)
	st = Status(w.pod, w.obs, now)
	require.Equal(t, "PodInitializing", st.ContainerStatuses[0].State.Waiting.Reason, "also when all init containers are through")

	w.has("a", 0, up).has("b", 0, up)
	st = Status(w.pod, w.obs, now)
	require.Equal(t, `the status of pod readiness gate "x/open" is not "True", but False, corresponding condition of pod readiness gate "x/none" does not exist.`,
		condition0(st, corev1.PodReady).Message)

	w.obs.Containers["s"][0].State = dead
	st = Status(w.pod, w.obs, now)
	require.Equal(t, corev1.ConditionTrue, condition0(st, corev1.PodInitialized).Status, "a sidecar that has ended changes nothing about that")

	w.deleted(5)
	w.obs.Busy["a"] = Op{Verb: Stop}
	st = Status(w.pod, w.obs, now)
	require.True(t, st.ContainerStatuses[0].Ready, "a terminating pod may still serve those who are connected")
	w.pod.DeletionTimestamp = nil
	require.False(t, Status(w.pod, w.obs, now).ContainerStatuses[0].Ready, "one that is about to be restarted may not")
}

func TestWhatCouldNotBeStartedSaysSoFirst(t *testing.T) {
	hooked := newWorld("a").sandbox(0, up).has("a", 0, dead, code(137), next(time.Minute))
	hooked.obs.HookErrors = map[string]string{"a-0": "the hook failed"}
	for _, c := range []struct {
		world                       *world
		reason, last, first, second string
	}{
		{newWorld("a").sandbox(0, up).has("a", 0, dead, code(128), next(time.Minute), func(c *runtime.Container) {
			c.Error, c.StartedAt = "no such file", time.Time{}
		}), runContainerError, "StartError", "no such file", "back-off 1m0s"},
		{hooked, postStartHookError, "Error", "the hook failed", "back-off 1m0s"},
	} {
		require.Contains(t, c.world.plan(), "wake in 9s", "to show the back-off then")
		st := Status(c.world.pod, c.world.obs, now).ContainerStatuses[0]
		require.Equal(t, c.reason, st.State.Waiting.Reason)
		require.Equal(t, c.first, st.State.Waiting.Message)
		require.Equal(t, c.last, st.LastTerminationState.Terminated.Reason)
		st = Status(c.world.pod, c.world.obs, now.Add(showFault)).ContainerStatuses[0]
		require.Equal(t, crashLoopBackOff, st.State.Waiting.Reason)
		require.Contains(t, st.State.Waiting.Message, c.second)
	}
}

func TestWhatAResizedPodHasBeenGranted(t *testing.T) {
	w := newWorld("a").change(needs("100m")).sandbox(0, up).has("a", 0, up, runsWith("50m"))
	cpu := func() []string {
		st := Status(w.pod, w.obs, now)
		var out []string
		for _, list := range []corev1.ResourceList{st.AllocatedResources, st.Resources.Requests, st.ContainerStatuses[0].AllocatedResources, st.ContainerStatuses[0].Resources.Requests} {
			out = append(out, list.Cpu().String())
		}
		return out
	}
	require.Equal(t, []string{"100m", "50m", "100m", "50m"}, cpu(), "granted, but not done yet")
	w.obs.Held = &Held{Reason: corev1.PodReasonDeferred}
	require.Equal(t, slices.Repeat([]string{"50m"}, 4), cpu(), "not granted")
}
