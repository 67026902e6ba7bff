package job

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

func TestEachIndexSucceedsOnce(t *testing.T) {
	j := build(6, 3, withIndexes)
	require.Equal(t, []int{0, 1, 2}, created(planOf(j)))
	p := planOf(j, pod("a", corev1.PodSucceeded, time.Second, index(1)), pod("b", corev1.PodRunning, time.Second, index(2)))
	require.Equal(t, []int{0, 3}, created(p))
	require.Equal(t, "1", p.status.CompletedIndexes)
	require.EqualValues(t, 1, p.status.Succeeded)
	require.Empty(t, p.status.UncountedTerminatedPods.Succeeded)

	j.Status.CompletedIndexes = "0-2,4"
	p = planOf(j, pod("twin", corev1.PodRunning, time.Second, index(3)), pod("elder", corev1.PodRunning, time.Hour, index(3)), pod("odd", corev1.PodRunning, time.Second, index(9)))
	require.ElementsMatch(t, []string{"twin", "odd"}, names(p.discard))
	j.Spec.Completions = ptr(int32(2))
	p = planOf(j)
	require.Equal(t, "0,1", p.status.CompletedIndexes)
	require.Equal(t, []string{"SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached"}, conditions(p.status))
}

func TestIndexesFailByThemselves(t *testing.T) {
	j := build(3, 3, func(s *batchv1.JobSpec) {
		withIndexes(s)
		s.BackoffLimitPerIndex, s.BackoffLimit = ptr(int32(1)), ptr(int32(1000))
	})
	first := pod("a", corev1.PodFailed, 4*time.Second, index(0), exit(1))
	running := []*corev1.Pod{pod("b", corev1.PodRunning, time.Second, index(1)), pod("c", corev1.PodRunning, time.Second, index(2))}
	p := planOf(j, append(running, first)...)
	require.Equal(t, 6*time.Second, p.after)
	require.Empty(t, p.create)
	require.Empty(t, p.release, "it hands its count on first")

	p = makePlan(observed{job: j, pods: append(running, first), now: now.Add(6 * time.Second)})
	require.Equal(t, []birth{{0, first}}, p.create)
	next, err := newPod(j, p.create[0])
	require.NoError(t, err)
	require.Equal(t, "1", next.Annotations[batchv1.JobIndexFailureCountAnnotation])

	second := pod("d", corev1.PodFailed, time.Second, index(0), exit(1), func(p *corev1.Pod) { p.Annotations[batchv1.JobIndexFailureCountAnnotation] = "1" })
	p = planOf(j, append(running, second)...)
	require.Equal(t, "0", *p.status.FailedIndexes)
	require.Equal(t, []string{"d"}, names(p.release))
	require.Empty(t, p.create)
	require.Empty(t, conditions(p.status))
	j.Status = p.status
	p = planOf(j, pod("b", corev1.PodSucceeded, 0, index(1)), pod("c", corev1.PodSucceeded, 0, index(2)))
	require.Equal(t, []string{"FailureTarget/FailedIndexes"}, conditions(p.status))
	j.Spec.MaxFailedIndexes = ptr(int32(0))
	require.Equal(t, []string{"FailureTarget/MaxFailedIndexesExceeded"}, conditions(planOf(j, running...).status))
}

func TestSuccessPolicyEndsTheRest(t *testing.T) {
	j := build(10, 10, func(s *batchv1.JobSpec) {
		withIndexes(s)
		s.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr("0,2-3")}, {SucceededIndexes: ptr("5-9"), SucceededCount: ptr(int32(2))}}}
	})
	j.Status.CompletedIndexes = "0,2,4,5"
	running := pod("a", corev1.PodRunning, time.Second, index(1))
	require.Empty(t, conditions(planOf(j, running).status))
	p := planOf(j, running, pod("b", corev1.PodSucceeded, 0, index(9)))
	require.Equal(t, []string{"SuccessCriteriaMet/SuccessPolicy"}, conditions(p.status))
	require.Equal(t, "Matched rules at index 1", p.status.Conditions[0].Message)
	require.Equal(t, []string{"a"}, names(p.stop))
	require.Empty(t, p.status.UncountedTerminatedPods.Failed, "what is no longer needed has not failed")
	j.Status = p.status
	require.Contains(t, conditions(planOf(j).status), "Complete/SuccessPolicy")
}

func TestIndexesAreWrittenShort(t *testing.T) {
	x := indexes(nil).with(7, 1, 3, 5, 4, 0, 9, 10)
	require.Equal(t, "0,1,3-5,7,9,10", x.String())
	require.Equal(t, x, parseIndexes(x.String(), 100))
	require.Equal(t, "0,1,3,4", parseIndexes(x.String(), 5).String())
	require.Equal(t, []int{2, 6, 8}, x.without(3, 50))
	require.Equal(t, []int{2, 6, 8, 11}, x.without(9, 12))
	require.Equal(t, 8, x.len())
	require.Equal(t, 3, x.common(parseIndexes("4-8", 100)))
	for n := range 12 {
		require.Equal(t, n != 2 && n != 6 && n != 8 && n < 11, x.has(n), n)
	}
}

func TestAnIndexedPodKnowsItsIndex(t *testing.T) {
	j := build(100, 1, withIndexes)
	j.Name = "a-job-with-a-name-that-is-much-longer-than-the-names-of-pods-may-be"
	p, err := newPod(j, birth{index: 42})
	require.NoError(t, err)
	require.Equal(t, "42", p.Labels[batchv1.JobCompletionIndexAnnotation])
	require.Equal(t, "42", p.Annotations[batchv1.JobCompletionIndexAnnotation])
	require.Regexp(t, "^a-job.*-42-$", p.GenerateName)
	require.Len(t, p.GenerateName, maxBase)
	require.Equal(t, indexVariable, p.Spec.Containers[0].Env[0].Name)
	require.Contains(t, p.Finalizers, batchv1.JobTrackingFinalizer)
}
