package replication

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/internal/client"
)

// The images of jobs say how their pods end.
const (
	succeeds = string(corev1.PodSucceeded)
	fails    = string(corev1.PodFailed)
	runs     = "one"
)

func task(name, image string, completions, parallelism int32) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: batchv1.JobSpec{Completions: &completions, Parallelism: &parallelism, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "app", Image: image}},
		}}},
	}
}

// over waits until a job has a condition.
func (c *cluster) over(name string, condition batchv1.JobConditionType) *batchv1.Job {
	c.Helper()
	j := &batchv1.Job{}
	c.eventually(fmt.Sprintf("job %s is %s", name, condition), func() bool {
		require.NoError(c.T, c.Get(c.Context(), j, "default", name))
		for _, cond := range j.Status.Conditions {
			if cond.Type == condition && cond.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
	return j
}

func TestAJobLives(t *testing.T) {
	c := start(t)
	kubectl := c.kubectl()
	kubectl("create job sum --image=Succeeded")
	require.Contains(t, kubectl("wait --for=condition=complete job/sum --timeout=20s"), "condition met")
	j := c.over("sum", batchv1.JobComplete)
	require.EqualValues(t, 1, j.Status.Succeeded)
	require.EqualValues(t, 0, *j.Status.Terminating)
	require.Equal(t, &batchv1.UncountedTerminatedPods{}, j.Status.UncountedTerminatedPods)
	require.Regexp(t, `sum +Complete +1/1`, kubectl("get jobs"))
	c.eventually("events", func() bool { return len(c.reasons("sum")["Completed"]) > 0 })
	text := kubectl("describe job sum")
	require.Regexp(t, `Pods Statuses: +0 Active \(0 Ready\) / 1 Succeeded / 0 Failed`, text)
	require.Regexp(t, `Normal +SuccessfulCreate .*job-controller +Created pod: sum-[a-z0-9]{5}`, text)
	require.Regexp(t, `Normal +Completed .*job-controller +Job completed`, text)
	for _, p := range c.pods.List("default", nil) {
		require.Empty(t, p.Finalizers)
	}

	parts, mode := task("parts", succeeds, 5, 2), batchv1.IndexedCompletion
	parts.Spec.CompletionMode = &mode
	require.NoError(t, c.Create(t.Context(), parts))
	kubectl("wait --for=condition=complete job/parts --timeout=20s")
	j = c.over("parts", batchv1.JobComplete)
	require.Equal(t, "0-4", j.Status.CompletedIndexes)
	require.EqualValues(t, 5, j.Status.Succeeded)
	require.Regexp(t, `Completed Indexes: +0-4`, kubectl("describe job parts"))
	require.Regexp(t, `parts-3-[a-z0-9]{5}`, kubectl("get pods -l batch.kubernetes.io/job-completion-index=3"))
}

func TestAJobThatFails(t *testing.T) {
	c := start(t)
	bad := task("bad", fails, 3, 1)
	bad.Spec.BackoffLimit = new(int32)
	require.NoError(t, c.Create(t.Context(), bad))
	j := c.over("bad", batchv1.JobFailed)
	require.EqualValues(t, 1, j.Status.Failed)
	require.Equal(t, "BackoffLimitExceeded", j.Status.Conditions[len(j.Status.Conditions)-1].Reason)
	c.eventually("event", func() bool { return len(c.reasons("bad")["BackoffLimitExceeded"]) > 0 })

	slow, deadline := task("slow", runs, 2, 2), int64(1)
	slow.Spec.ActiveDeadlineSeconds = &deadline
	require.NoError(t, c.Create(t.Context(), slow))
	j = c.over("slow", batchv1.JobFailed)
	require.EqualValues(t, 2, j.Status.Failed)
	require.EqualValues(t, 0, j.Status.Active)
	c.eventually("its pods are gone", func() bool { return c.pods.Len() == 1 })
}

func TestAJobIsSuspendedAndResumed(t *testing.T) {
	c := start(t)
	kubectl := c.kubectl()
	require.NoError(t, c.Create(t.Context(), task("long", runs, 4, 2)))
	c.eventually("two run", func() bool { return strings.Contains(kubectl("get job long -o jsonpath={.status.ready}"), "2") })
	kubectl(`patch job long -p {"spec":{"suspend":true}}`)
	c.over("long", batchv1.JobSuspended)
	c.eventually("no pods", func() bool { return c.pods.Len() == 0 })
	kubectl(`patch job long -p {"spec":{"suspend":false,"parallelism":3}}`)
	c.eventually("three run", func() bool { return strings.Contains(kubectl("get job long -o jsonpath={.status.ready}"), "3") })
	j := &batchv1.Job{}
	require.NoError(t, c.Get(t.Context(), j, "default", "long"))
	require.EqualValues(t, 0, j.Status.Failed)

	// Without its job nothing holds a pod.
	kubectl("delete job long --cascade=orphan --wait=false")
	c.eventually("no finalizers", func() bool {
		for _, p := range c.pods.List("default", nil) {
			if len(p.Finalizers) > 0 {
				return false
			}
		}
		return true
	})
}

func TestAPodThatADeletedJobLeftIsReleased(t *testing.T) {
	c := start(t)
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "left", Finalizers: []string{batchv1.JobTrackingFinalizer},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "gone", UID: "gone", Controller: &yes}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: runs}}},
	}
	require.NoError(t, c.Create(t.Context(), p))
	c.eventually("released", func() bool {
		got, ok := c.pods.Get("default", "left")
		return ok && len(got.Finalizers) == 0
	})
}

func TestAFinishedJobExpires(t *testing.T) {
	c := start(t)
	j, ttl := task("short", succeeds, 1, 1), int32(1)
	j.Spec.TTLSecondsAfterFinished = &ttl
	require.NoError(t, c.Create(t.Context(), j))
	c.eventually("deleted", func() bool {
		err := c.Get(t.Context(), j, "default", "short")
		return apierrors.IsNotFound(err) || err == nil && j.DeletionTimestamp != nil
	})
}

func TestManyPodsOfAJobAreCountedOnceAndFast(t *testing.T) {
	c := start(t)
	var created sync.Map
	c.pods.OnChange(func(old, new *corev1.Pod) {
		if old == nil {
			created.Store(new.Name, true)
		}
	})
	began := time.Now()
	require.NoError(t, c.Create(t.Context(), task("big", succeeds, 300, 50)))
	j := c.over("big", batchv1.JobComplete)
	t.Logf("300 pods, 50 at a time, in %v", time.Since(began))
	require.EqualValues(t, 300, j.Status.Succeeded)
	n := 0
	created.Range(func(any, any) bool { n++; return true })
	require.Equal(t, 300, n)
}

func TestACronJobLives(t *testing.T) {
	c := start(t)
	kubectl := c.kubectl()
	j := task("", succeeds, 1, 1)
	cj := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "often"},
		Spec:       batchv1.CronJobSpec{Schedule: "@every 1s", JobTemplate: batchv1.JobTemplateSpec{Spec: j.Spec}},
	}
	require.NoError(t, c.Create(t.Context(), cj))
	c.eventually("a run has succeeded", func() bool {
		require.NoError(t, c.Get(t.Context(), cj, "default", "often"))
		return cj.Status.LastScheduleTime != nil && cj.Status.LastSuccessfulTime != nil
	})
	kubectl(`patch cronjob often -p {"spec":{"suspend":true}}`)
	kubectl("create job by-hand --from=cronjob/often")
	kubectl("wait --for=condition=complete job/by-hand --timeout=20s")
	c.eventually("events", func() bool {
		r := c.reasons("often")
		return len(r["SuccessfulCreate"]) > 0 && len(r["SawCompletedJob"]) > 0
	})
	require.Regexp(t, `often +@every 1s +<none> +True +0`, kubectl("get cronjobs"))
	require.Contains(t, kubectl("describe cronjob often"), "Created job often-")
}

func TestADisruptionBudgetFollowsItsPods(t *testing.T) {
	c := start(t)
	require.NoError(t, c.Create(t.Context(), workload("web", 4)))
	half := intstr.FromString("50%")
	b := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &half, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}
	require.NoError(t, c.Create(t.Context(), b))
	allows := func(expected, allowed int32) {
		t.Helper()
		c.eventually(fmt.Sprintf("%d of %d", allowed, expected), func() bool {
			require.NoError(t, c.Get(t.Context(), b, "default", "web"))
			return b.Status.ObservedGeneration == b.Generation && b.Status.ExpectedPods == expected && b.Status.DisruptionsAllowed == allowed
		})
	}
	allows(4, 2)
	c.patch("web", `{"spec":{"replicas":6}}`)
	allows(6, 3)
	require.NoError(t, c.Patch(t.Context(), b, types.MergePatchType, []byte(`{"spec":{"minAvailable":6}}`), ""))
	allows(6, 0)
	require.NoError(t, c.Delete(t.Context(), workload("web", 0), client.DeleteOptions{Propagation: metav1.DeletePropagationOrphan}))
}

func TestADisruptionThatDidNotComeIsForgotten(t *testing.T) {
	c := start(t)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "lucky"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "broken"}}},
	}
	require.NoError(t, c.Create(t.Context(), p))
	p.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "PreemptionByScheduler", LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Hour)),
	}}
	require.NoError(t, c.UpdateStatus(t.Context(), p))
	c.eventually("forgotten", func() bool {
		require.NoError(t, c.Get(t.Context(), p, "default", "lucky"))
		return p.Status.Conditions[0].Status == corev1.ConditionFalse
	})
}
