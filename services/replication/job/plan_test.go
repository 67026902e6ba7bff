package job

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func build(completions, parallelism int32, change func(*batchv1.JobSpec)) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "sum", UID: "job"},
		Spec: batchv1.JobSpec{
			Completions: &completions, Parallelism: &parallelism, BackoffLimit: ptr(int32(6)), CompletionMode: ptr(batchv1.NonIndexedCompletion),
			PodReplacementPolicy: ptr(batchv1.TerminatingOrFailed),
			Template:             corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "app"}}}},
		},
		Status: batchv1.JobStatus{StartTime: ptr(metav1.NewTime(now.Add(-time.Minute)))},
	}
	if change != nil {
		change(&j.Spec)
	}
	return j
}

func withIndexes(s *batchv1.JobSpec) { s.CompletionMode = ptr(batchv1.IndexedCompletion) }

// pod is one of the job's as it was made; it ended or began ago before now.
func pod(name string, phase corev1.PodPhase, ago time.Duration, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID(name), Finalizers: []string{batchv1.JobTrackingFinalizer},
		Annotations: map[string]string{}, CreationTimestamp: metav1.NewTime(now.Add(-ago)),
	}}
	p.Status.Phase = phase
	for _, fn := range change {
		fn(p)
	}
	return p
}

func index(n int) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[batchv1.JobCompletionIndexAnnotation] = fmt.Sprint(n) }
}

func exit(code int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: p.CreationTimestamp},
		}}}
	}
}

func gone(p *corev1.Pod)     { p.Finalizers = nil }
func stopping(p *corev1.Pod) { p.DeletionTimestamp = ptr(metav1.NewTime(now)) }

func planOf(j *batchv1.Job, pods ...*corev1.Pod) plan {
	return makePlan(observed{job: j, pods: pods, now: now})
}

func created(p plan) (out []int) {
	for _, b := range p.create {
		out = append(out, b.index)
	}
	return out
}

func names(pods []*corev1.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

// conditions are "Type/Reason" of those that are true.
func conditions(s batchv1.JobStatus) (out []string) {
	for _, c := range s.Conditions {
		if c.Status == corev1.ConditionTrue {
			out = append(out, string(c.Type)+"/"+c.Reason)
		}
	}
	return out
}

func TestAJobRunsAsManyAsItMayAndMust(t *testing.T) {
	running := pod("a", corev1.PodRunning, time.Second)
	for name, c := range map[string]struct {
		job     *batchv1.Job
		pods    []*corev1.Pod
		create  int
		discard int
	}{
		"at the start":                {build(5, 2, nil), nil, 2, 0},
		"no more than are missing":    {build(5, 4, func(*batchv1.JobSpec) {}), []*corev1.Pod{running}, 3, 0},
		"none while one is there":     {build(1, 3, nil), []*corev1.Pod{running}, 0, 0},
		"fewer after a change":        {build(5, 1, nil), []*corev1.Pod{running, pod("b", corev1.PodRunning, time.Second)}, 0, 1},
		"one that stops is replaced":  {build(5, 1, func(s *batchv1.JobSpec) { s.BackoffLimit = ptr(int32(0)) }), []*corev1.Pod{pod("a", corev1.PodRunning, time.Second, stopping, gone)}, 1, 0},
		"or when it has ended":        {build(5, 1, func(s *batchv1.JobSpec) { s.PodReplacementPolicy = ptr(batchv1.Failed) }), []*corev1.Pod{pod("a", corev1.PodRunning, time.Second, stopping)}, 0, 0},
		"a queue makes its own width": {build(0, 3, func(s *batchv1.JobSpec) { s.Completions = nil }), nil, 3, 0},
		"until one has succeeded": {build(0, 3, func(s *batchv1.JobSpec) { s.Completions = nil }),
			[]*corev1.Pod{running, pod("b", corev1.PodSucceeded, time.Second)}, 0, 0},
		"suspended": {build(5, 2, func(s *batchv1.JobSpec) { s.Suspend = ptr(true) }), []*corev1.Pod{running}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := planOf(c.job, c.pods...)
			require.Len(t, p.create, c.create)
			require.Len(t, p.discard, c.discard)
			require.Empty(t, p.stop)
		})
	}
}

func TestAPodIsCountedInThreeSteps(t *testing.T) {
	j := build(1, 1, nil)
	a := pod("a", corev1.PodSucceeded, time.Second)
	p := planOf(j, a)
	require.Equal(t, []types.UID{"a"}, p.status.UncountedTerminatedPods.Succeeded)
	require.Equal(t, []string{"a"}, names(p.release))
	require.EqualValues(t, 0, p.status.Succeeded)
	require.Equal(t, []string{"SuccessCriteriaMet/CompletionsReached"}, conditions(p.status))

	j.Status = p.status
	p = planOf(j, a) // its finalizer was not taken off
	require.Equal(t, j.Status.UncountedTerminatedPods, p.status.UncountedTerminatedPods)
	require.Equal(t, []string{"a"}, names(p.release))

	gone(a)
	p = planOf(j, a)
	require.Empty(t, p.status.UncountedTerminatedPods.Succeeded)
	require.EqualValues(t, 1, p.status.Succeeded)
	require.Equal(t, []string{"SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached"}, conditions(p.status))
	require.Equal(t, now, p.status.CompletionTime.Time)
	require.Equal(t, []event{{"Normal", "Completed", "Job completed"}}, p.events)
	require.Equal(t, p.status, planOf(j).status, "the same when the pod is gone altogether")
}

func TestFailuresDelayTheNextPodEverMore(t *testing.T) {
	j := build(3, 1, nil)
	j.Status.Failed = 2
	a, b := pod("a", corev1.PodFailed, 8*time.Second, exit(1), gone), pod("b", corev1.PodFailed, 5*time.Second, exit(1), gone)
	p := planOf(j, a, b)
	require.Empty(t, p.create)
	require.Equal(t, 15*time.Second, p.after)
	require.Equal(t, failures{2, now.Add(-5 * time.Second)}, p.failures)

	p = makePlan(observed{job: j, pods: []*corev1.Pod{a, b, pod("c", corev1.PodSucceeded, time.Second)}, failures: &p.failures, now: now})
	require.Len(t, p.create, 1, "a success ends the delay")
	require.Equal(t, failures{}, p.failures)
	require.Equal(t, maxDelay, failures{count: 60, last: now}.wait(now))
}

func TestReasonsToFail(t *testing.T) {
	for name, c := range map[string]struct {
		job    *batchv1.Job
		pods   []*corev1.Pod
		reason string
		failed int
	}{
		"too many failures": {build(1, 2, func(s *batchv1.JobSpec) { s.BackoffLimit = ptr(int32(0)) }),
			[]*corev1.Pod{pod("a", corev1.PodFailed, time.Second), pod("b", corev1.PodRunning, time.Second)}, "BackoffLimitExceeded", 2},
		"too many restarts": {build(1, 1, func(s *batchv1.JobSpec) {
			s.BackoffLimit, s.Template.Spec.RestartPolicy = ptr(int32(2)), corev1.RestartPolicyOnFailure
		}), []*corev1.Pod{pod("a", corev1.PodRunning, time.Second, func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}} })},
			"BackoffLimitExceeded", 1},
		"too late": {build(1, 1, func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = ptr(int64(60)) }),
			[]*corev1.Pod{pod("a", corev1.PodRunning, time.Second)}, "DeadlineExceeded", 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := planOf(c.job, c.pods...)
			require.Equal(t, []string{"FailureTarget/" + c.reason}, conditions(p.status))
			require.Len(t, p.status.UncountedTerminatedPods.Failed, c.failed)
			require.Empty(t, p.create)
			require.EqualValues(t, 0, p.status.Active)
			c.job.Status = p.status
			p = planOf(c.job)
			require.Equal(t, []string{"FailureTarget/" + c.reason, "Failed/" + c.reason}, conditions(p.status))
			require.EqualValues(t, c.failed, p.status.Failed)
			require.Nil(t, p.status.CompletionTime)
			require.Equal(t, c.reason, p.events[0].reason)
		})
	}
	j := build(1, 1, func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = ptr(int64(90)) })
	require.Equal(t, 30*time.Second, planOf(j, pod("a", corev1.PodRunning, time.Second)).after)
}

func TestAJobIsNotOverWhileAPodStillStops(t *testing.T) {
	j := build(1, 1, func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = ptr(int64(60)) })
	j.Status = planOf(j, pod("a", corev1.PodRunning, time.Second)).status
	p := planOf(j, pod("a", corev1.PodRunning, time.Second, stopping, gone))
	require.Equal(t, []string{"FailureTarget/DeadlineExceeded"}, conditions(p.status))
	require.EqualValues(t, 1, *p.status.Terminating)
	require.EqualValues(t, 1, p.status.Failed)
}

func TestSuspendedJobsLoseTheirPodsWithoutFailures(t *testing.T) {
	j := build(3, 2, func(s *batchv1.JobSpec) { s.Suspend = ptr(true); s.ActiveDeadlineSeconds = ptr(int64(90)) })
	p := planOf(j, pod("a", corev1.PodRunning, time.Second))
	require.Equal(t, []string{"a"}, names(p.discard))
	require.Empty(t, p.release)
	require.Empty(t, p.status.UncountedTerminatedPods.Failed)
	require.Equal(t, []string{"Suspended/JobSuspended"}, conditions(p.status))
	require.Zero(t, p.after)

	j.Status = p.status
	j.Status.StartTime = ptr(metav1.NewTime(now.Add(-time.Hour)))
	j.Spec.Suspend = ptr(false)
	p = planOf(j)
	require.Empty(t, conditions(p.status))
	require.Equal(t, "JobResumed", p.status.Conditions[0].Reason)
	require.Equal(t, now, p.status.StartTime.Time, "the deadline begins anew")
	require.Len(t, p.create, 2)

	fresh := build(1, 1, func(s *batchv1.JobSpec) { s.Suspend = ptr(true) })
	fresh.Status.StartTime = nil
	require.Nil(t, planOf(fresh).status.StartTime)
}

func TestPodFailurePolicy(t *testing.T) {
	rules := func(s *batchv1.JobSpec) {
		s.BackoffLimit = ptr(int32(0))
		s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
			{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
			{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}}},
			{Action: batchv1.PodFailurePolicyActionFailIndex, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpNotIn, Values: []int32{1}, ContainerName: ptr("app")}},
		}}
	}
	evicted := pod("a", corev1.PodFailed, time.Hour, exit(137), func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
	})
	p := planOf(build(1, 1, rules), evicted)
	require.Empty(t, conditions(p.status))
	require.Len(t, p.create, 1)
	require.Equal(t, []string{"a"}, names(p.release))
	require.Empty(t, p.status.UncountedTerminatedPods.Failed)

	j := build(1, 1, rules)
	j.Spec.BackoffLimit = ptr(int32(6))
	p = planOf(j, pod("a", corev1.PodFailed, 0, exit(42)))
	require.Equal(t, []string{"FailureTarget/PodFailurePolicy"}, conditions(p.status))
	require.Equal(t, "Container app for pod shop/a failed with exit code 42 matching FailJob rule at index 1", p.status.Conditions[0].Message)

	j = build(2, 2, func(s *batchv1.JobSpec) {
		withIndexes(s)
		rules(s)
		s.BackoffLimitPerIndex, s.BackoffLimit = ptr(int32(5)), ptr(int32(9))
	})
	require.Equal(t, "1", *planOf(j, pod("a", corev1.PodFailed, 0, index(1), exit(2))).status.FailedIndexes)
	require.Equal(t, "", *planOf(j, pod("a", corev1.PodFailed, 0, index(1), exit(1))).status.FailedIndexes)
}
