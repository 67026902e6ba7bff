package podstate

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/runtime"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// world builds a pod and what is observed of it.
type world struct {
	pod *corev1.Pod
	obs *Observed
}

func newWorld(names ...string) *world {
	w := &world{
		pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pod", UID: "uid"}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways}},
		obs: &Observed{Containers: map[string][]runtime.Container{}, Busy: map[string]Op{}, Trouble: map[string]Trouble{}, Health: map[string]Health{}},
	}
	for _, n := range names {
		w.pod.Spec.Containers = append(w.pod.Spec.Containers, corev1.Container{Name: n, Image: "image"})
	}
	return w
}

func (w *world) sandbox(attempt int, state runtime.State) *world {
	id := fmt.Sprintf("sandbox-%d", attempt)
	w.obs.Sandboxes = append(w.obs.Sandboxes, runtime.Container{Meta: runtime.Meta{Container: runtime.SandboxName, Attempt: attempt, Address: "10.0.0.2"}, ID: id, State: state})
	w.obs.Wired = state == runtime.Running
	return w
}

// has adds a container's attempt in the newest sandbox; change may alter it.
func (w *world) has(name string, attempt int, state runtime.State, change ...func(*runtime.Container)) *world {
	c := runtime.Container{Meta: runtime.Meta{Container: name, Attempt: attempt}, ID: fmt.Sprintf("%s-%d", name, attempt), State: state, StartedAt: ago(time.Minute), FinishedAt: ago(time.Second)}
	if s := w.obs.Sandbox(); s != nil {
		c.Sandbox = s.ID
	}
	for _, f := range change {
		f(&c)
	}
	w.obs.Containers[name] = append(w.obs.Containers[name], c)
	return w
}

func (w *world) deleted(grace int64) *world {
	w.pod.DeletionTimestamp, w.pod.DeletionGracePeriodSeconds = &metav1.Time{Time: now}, &grace
	return w
}

func (w *world) change(f func(*corev1.Pod)) *world { f(w.pod); return w }

func code(n int32) func(*runtime.Container) {
	return func(c *runtime.Container) { c.ExitCode = n }
}

func next(d time.Duration) func(*runtime.Container) {
	return func(c *runtime.Container) { c.NextDelay = d }
}

// plan renders a decision in words, sorted.
func (w *world) plan() []string {
	p := Next(w.pod, w.obs, now)
	var out []string
	for _, a := range p.Actions {
		switch a.Verb {
		case Start, MakeSandbox:
			out = append(out, fmt.Sprintf("%s %s/%d then %s", a.Verb, a.Name, a.Attempt, a.NextDelay))
		case Stop:
			out = append(out, fmt.Sprintf("%s %s in %s", a.Verb, a.ID, a.Grace))
		case Remove, Resize:
			out = append(out, fmt.Sprintf("%s %s", a.Verb, a.ID))
		case Abort:
			out = append(out, fmt.Sprintf("%s %s", a.Verb, a.Name))
		}
	}
	slices.Sort(out)
	if !p.Wake.IsZero() {
		out = append(out, "wake in "+p.Wake.Sub(now).String())
	}
	if p.Done {
		out = append(out, "done")
	}
	return out
}

func never(p *corev1.Pod)     { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
func onFailure(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }

func needs(cpu string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
}

func runsWith(cpu string) func(*runtime.Container) {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, 1)}}
	needs(cpu)(p)
	return func(c *runtime.Container) { c.Amounts = Amounts(&p.Spec.Containers[0]) }
}

func restartToResize(p *corev1.Pod) {
	p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
}

func withInit(names ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, n := range names {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: n, Image: "image"})
		}
	}
}

func withSidecar(name string) func(*corev1.Pod) {
	always := corev1.ContainerRestartPolicyAlways
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Image: "image", RestartPolicy: &always})
	}
}

const up, dead = runtime.Running, runtime.Exited

func TestNext(t *testing.T) {
	for what, c := range map[string]struct {
		world *world
		want  []string
	}{
		"a new pod: sandbox and containers at once": {newWorld("a", "b"),
			[]string{"MakeSandbox POD/0 then 0s", "Start a/0 then 0s", "Start b/0 then 0s"}},
		"a running pod needs nothing": {newWorld("a").sandbox(0, up).has("a", 0, up), nil},
		"init containers come one by one": {newWorld("a").change(withInit("i", "j")).sandbox(0, up).has("i", 0, dead),
			[]string{"Start j/0 then 0s"}},
		"a failed init container is run again": {newWorld("a").change(withInit("i")).sandbox(0, up).has("i", 0, dead, code(1)),
			[]string{"Start i/1 then 10s"}},
		"a sidecar that runs lets the others start": {newWorld("a").change(withSidecar("s")).sandbox(0, up).has("s", 0, up),
			[]string{"Start a/0 then 0s"}},
		"init containers do not run again beside main ones": {newWorld("a", "b").change(withInit("i")).sandbox(0, up).has("a", 0, up),
			[]string{"Start b/0 then 0s"}},
		"the first restart is immediate": {newWorld("a").sandbox(0, up).has("a", 0, dead, code(1)),
			[]string{"Start a/1 then 10s"}},
		"the second waits": {newWorld("a").sandbox(0, up).has("a", 1, dead, code(1), next(10*time.Second)),
			[]string{"wake in 9s"}},
		"and then doubles its delay": {newWorld("a").sandbox(0, up).has("a", 1, dead, next(10*time.Second), func(c *runtime.Container) { c.FinishedAt = ago(11 * time.Second) }),
			[]string{"Start a/2 then 20s"}},
		"up to five minutes": {newWorld("a").sandbox(0, up).has("a", 9, dead, next(5*time.Minute), func(c *runtime.Container) { c.FinishedAt = ago(time.Hour) }),
			[]string{"Start a/10 then 5m0s"}},
		"a container that ran long starts afresh": {newWorld("a").sandbox(0, up).has("a", 9, dead, next(5*time.Minute), func(c *runtime.Container) { c.StartedAt = ago(time.Hour) }),
			[]string{"Start a/10 then 10s"}},
		"one that never started is made again": {newWorld("a").sandbox(0, up).has("a", 3, runtime.Created, next(time.Minute)),
			[]string{"Start a/3 then 1m0s"}},
		"trouble is waited for": {func() *world {
			w := newWorld("a").sandbox(0, up)
			w.obs.Trouble["a"] = Trouble{Reason: "ErrImagePull", RetryAt: now.Add(7 * time.Second)}
			return w
		}(), []string{"wake in 7s"}},
		"only two attempts are kept": {newWorld("a").sandbox(0, up).has("a", 0, dead).has("a", 1, dead).has("a", 2, up),
			[]string{"Remove a-0"}},
		"a second one under the same name is stopped": {newWorld("a").sandbox(0, up).has("a", 0, up).has("a", 1, up),
			[]string{"Stop a-0 in 30s"}},
		"a dead sandbox takes its containers along": {newWorld("a").sandbox(0, dead).has("a", 0, up), []string{"Stop a-0 in 30s"}},
		"then everything is made anew": {newWorld("a").change(withInit("i")).sandbox(0, dead).has("i", 0, dead).has("a", 0, dead, code(137)),
			[]string{"MakeSandbox POD/1 then 0s", "Start i/1 then 10s"}},
		"and the old sandbox is removed": {newWorld("a").sandbox(0, dead).sandbox(1, up).has("a", 1, up), []string{"Remove sandbox-0"}},
		"a failed liveness probe": {func() *world {
			w := newWorld("a").sandbox(0, up).has("a", 0, up)
			w.obs.Health["a"] = Health{ID: "a-0", Failed: "liveness"}
			return w
		}(), []string{"Stop a-0 in 30s"}},
		"another image":               {newWorld("a").sandbox(0, up).has("a", 0, up, func(c *runtime.Container) { c.Hash = "old" }), []string{"Stop a-0 in 30s"}},
		"other amounts":               {newWorld("a").change(needs("100m")).sandbox(0, up).has("a", 0, up, runsWith("50m")), []string{"Resize a-0"}},
		"amounts that need a restart": {newWorld("a").change(needs("100m")).change(restartToResize).sandbox(0, up).has("a", 0, up, runsWith("50m")), []string{"Stop a-0 in 30s"}},
		"amounts that the node does not have": {func() *world {
			w := newWorld("a").change(needs("100m")).sandbox(0, up).has("a", 0, up, runsWith("50m"))
			w.obs.Held = &Held{Reason: corev1.PodReasonDeferred}
			return w
		}(), nil},
		"a pod that has run to its end holds no sandbox": {newWorld("a").change(never).sandbox(0, up).has("a", 0, dead), []string{"Remove sandbox-0"}},
		"nor its sidecars":                     {newWorld("a").change(onFailure).change(withSidecar("s")).sandbox(0, up).has("s", 0, up).has("a", 0, dead), []string{"Stop s-0 in 30s"}},
		"a failure is tried again where asked": {newWorld("a").change(onFailure).sandbox(0, up).has("a", 0, dead, code(1)), []string{"Start a/1 then 10s"}},
		"a deleted pod stops":                  {newWorld("a", "b").sandbox(0, up).has("a", 0, up).has("b", 0, up).deleted(5), []string{"Stop a-0 in 5s", "Stop b-0 in 5s"}},
		"sidecars after the others":            {newWorld("a").change(withSidecar("s")).sandbox(0, up).has("s", 0, up).has("a", 0, dead).deleted(5), []string{"Stop s-0 in 5s"}},
		"then it is taken away":                {newWorld("a").sandbox(0, up).has("a", 0, dead).deleted(5), []string{"Remove a-0", "Remove sandbox-0"}},
		"and is done":                          {newWorld("a").deleted(5), []string{"done"}},
		"a start is given up": {func() *world {
			w := newWorld("a").sandbox(0, up).deleted(5)
			w.obs.Busy["a"] = Op{Verb: Start}
			return w
		}(), []string{"Abort a"}},
		"a stop is not begun twice": {func() *world {
			w := newWorld("a").sandbox(0, up).has("a", 0, up).deleted(5)
			w.obs.Busy["a"] = Op{Verb: Stop, Deadline: now.Add(4 * time.Second)}
			return w
		}(), nil},
		"but may be hastened": {func() *world {
			w := newWorld("a").sandbox(0, up).has("a", 0, up).deleted(0)
			w.obs.Busy["a"] = Op{Verb: Stop, Deadline: now.Add(4 * time.Second)}
			return w
		}(), []string{"Stop a-0 in 0s"}},
		"a pod past its deadline stops": {newWorld("a").sandbox(0, up).has("a", 0, up).change(func(p *corev1.Pod) {
			seconds := int64(60)
			p.Spec.ActiveDeadlineSeconds = &seconds
		}).started(2 * time.Minute), []string{"Stop a-0 in 30s"}},
	} {
		t.Run(what, func(t *testing.T) { require.Equal(t, c.want, c.world.plan()) })
	}
}

func (w *world) started(d time.Duration) *world {
	w.obs.Previous.StartTime = &metav1.Time{Time: ago(d)}
	return w
}

func TestStatus(t *testing.T) {
	w := newWorld("a")
	st := Status(w.pod, w.obs, now)
	require.Equal(t, corev1.PodPending, st.Phase)
	require.Equal(t, "ContainerCreating", st.ContainerStatuses[0].State.Waiting.Reason)
	require.Equal(t, corev1.PodQOSBestEffort, st.QOSClass)
	require.Equal(t, "ContainersNotReady", condition0(st, corev1.PodReady).Reason)
	require.Equal(t, "containers with unready status: [a]", condition0(st, corev1.PodReady).Message)

	w.sandbox(0, up).has("a", 0, up)
	w.obs.Previous = st
	st = Status(w.pod, w.obs, now.Add(time.Second))
	require.Equal(t, corev1.PodRunning, st.Phase)
	require.Equal(t, "10.0.0.2", st.PodIP)
	require.Equal(t, corev1.ConditionTrue, condition0(st, corev1.PodReady).Status)
	require.True(t, now.Add(time.Second).Equal(condition0(st, corev1.PodReady).LastTransitionTime.Time))
	require.True(t, now.Equal(st.StartTime.Time))

	w.obs.Previous = st
	again := Status(w.pod, w.obs, now.Add(time.Hour))
	require.Equal(t, st, again, "nothing has changed, so the status has not")

	w.obs.Containers["a"][0].State, w.obs.Containers["a"][0].OOMKilled, w.obs.Containers["a"][0].ExitCode = dead, true, 137
	w.obs.Containers["a"][0].NextDelay = 10 * time.Second
	st = Status(w.pod, w.obs, now)
	require.Equal(t, corev1.PodRunning, st.Phase)
	require.Equal(t, "CrashLoopBackOff", st.ContainerStatuses[0].State.Waiting.Reason)
	require.Equal(t, "back-off 10s restarting failed container=a pod=pod_ns(uid)", st.ContainerStatuses[0].State.Waiting.Message)
	require.Equal(t, "OOMKilled", st.ContainerStatuses[0].LastTerminationState.Terminated.Reason)

	w.change(never)
	st = Status(w.pod, w.obs, now)
	require.Equal(t, corev1.PodFailed, st.Phase)
	require.Equal(t, "PodFailed", condition0(st, corev1.PodReady).Reason)
}

func TestStatusOfARemovedPodIsItsLast(t *testing.T) {
	w := newWorld("a").sandbox(0, up).has("a", 2, dead, code(3)).deleted(5)
	last := Status(w.pod, w.obs, now)
	require.EqualValues(t, 3, last.ContainerStatuses[0].State.Terminated.ExitCode)
	w.obs.Previous, w.obs.Containers, w.obs.Sandboxes = last, map[string][]runtime.Container{}, nil
	after := Status(w.pod, w.obs, now)
	require.Equal(t, last.ContainerStatuses[0].State, after.ContainerStatuses[0].State)
	require.Equal(t, last.Phase, after.Phase)
}

func TestReadinessGates(t *testing.T) {
	w := newWorld("a").sandbox(0, up).has("a", 0, up).change(func(p *corev1.Pod) {
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/open"}}
	})
	st := Status(w.pod, w.obs, now)
	require.Equal(t, "ReadinessGatesNotReady", condition0(st, corev1.PodReady).Reason)
	require.Equal(t, corev1.ConditionTrue, condition0(st, corev1.ContainersReady).Status)
	w.pod.Status.Conditions = []corev1.PodCondition{{Type: "example.org/open", Status: corev1.ConditionTrue}}
	st = Status(w.pod, w.obs, now)
	require.Equal(t, corev1.ConditionTrue, condition0(st, corev1.PodReady).Status)
	require.NotNil(t, condition0(st, "example.org/open"), "conditions of others are kept")
}

func TestQOSClass(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	w := newWorld("a")
	require.Equal(t, corev1.PodQOSBestEffort, QOSClass(w.pod))
	w.pod.Spec.Containers[0].Resources.Limits = list("1", "1Gi")
	require.Equal(t, corev1.PodQOSGuaranteed, QOSClass(w.pod))
	w.pod.Spec.Containers[0].Resources.Requests = list("500m", "1Gi")
	require.Equal(t, corev1.PodQOSBurstable, QOSClass(w.pod))
}

func condition0(st corev1.PodStatus, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == kind {
			return &st.Conditions[i]
		}
	}
	return nil
}
