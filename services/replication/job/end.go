package job

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/replication/pods"
)

// ends are the reasons for which a job ends although pods may still run; the first one that holds counts.
var ends = []func(*state) *batchv1.JobCondition{
	(*state).endedBefore, (*state).failedByPolicy, (*state).failedTooOften, (*state).tookTooLong,
	(*state).lostIndexes, (*state).succeededByPolicy,
}

func (s *state) decide() {
	for _, ended := range ends {
		if s.end = ended(s); s.end != nil {
			return
		}
	}
	if d, ok := s.deadline(); ok {
		s.wakeAfter(d)
	}
}

func (s *state) failure(reason, message string) *batchv1.JobCondition {
	return s.condition(batchv1.JobFailureTarget, reason, message)
}

func (s *state) condition(kind batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	at := metav1.NewTime(s.now)
	return &batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, LastProbeTime: at, LastTransitionTime: at, Reason: reason, Message: message}
}

// find returns the condition of a type if it is true.
func find(conditions []batchv1.JobCondition, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range conditions {
		if c := &conditions[i]; c.Type == kind && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// Finished returns the condition with which a job is over, nil while it is not.
func Finished(job *batchv1.Job) *batchv1.JobCondition {
	if c := find(job.Status.Conditions, batchv1.JobComplete); c != nil {
		return c
	}
	return find(job.Status.Conditions, batchv1.JobFailed)
}

func (s *state) endedBefore() *batchv1.JobCondition {
	for _, kind := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget} {
		if c := find(s.status.Conditions, kind); c != nil {
			return c.DeepCopy()
		}
	}
	return nil
}

func (s *state) failedByPolicy() *batchv1.JobCondition {
	for _, p := range s.pods {
		if !failed(s.job, p) {
			continue
		}
		if j := judge(s.job, p); j.action == batchv1.PodFailurePolicyActionFailJob {
			return s.failure(batchv1.JobReasonPodFailurePolicy, j.message)
		}
	}
	return nil
}

func (s *state) failedTooOften() *batchv1.JobCondition {
	total := int(s.status.Failed) + len(s.status.UncountedTerminatedPods.Failed)
	for _, p := range s.failed {
		if judge(s.job, p).counts() {
			total++
		}
	}
	limit := number(s.job.Spec.BackoffLimit, 6)
	if total <= limit && !s.restartedTooOften(limit) {
		return nil
	}
	return s.failure(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
}

// restartedTooOften counts the restarts within pods, for jobs whose containers are restarted in place.
func (s *state) restartedTooOften(limit int) bool {
	if s.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	total := 0
	for _, p := range s.pods {
		if p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodPending {
			total += restarts(p)
		}
	}
	return total > 0 && total >= limit
}

func restarts(p *corev1.Pod) (n int) {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			n += int(list[i].RestartCount)
		}
	}
	return n
}

// deadline returns how long the job may still be active.
func (s *state) deadline() (left time.Duration, ok bool) {
	if s.job.Spec.ActiveDeadlineSeconds == nil || s.status.StartTime == nil || suspended(s.job) {
		return 0, false
	}
	return time.Duration(*s.job.Spec.ActiveDeadlineSeconds)*time.Second - s.now.Sub(s.status.StartTime.Time), true
}

func (s *state) tookTooLong() *batchv1.JobCondition {
	if left, ok := s.deadline(); ok && left <= 0 {
		return s.failure(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	}
	return nil
}

func (s *state) lostIndexes() *batchv1.JobCondition {
	if !perIndex(s.job) {
		return nil
	}
	lost := s.broken.len()
	switch {
	case s.job.Spec.MaxFailedIndexes != nil && lost > int(*s.job.Spec.MaxFailedIndexes):
		return s.failure(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	case lost > 0 && lost+s.done.len() >= completions(s.job):
		return s.failure(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
	}
	return nil
}

func (s *state) succeededByPolicy() *batchv1.JobCondition {
	if !indexed(s.job) {
		return nil
	}
	if n, ok := successRule(s.job, s.done); ok {
		return s.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", n))
	}
	return nil
}

// completed says that the job has what it is for and nothing runs any more.
func (s *state) completed() *batchv1.JobCondition {
	need := number(s.job.Spec.Completions, 1)
	if s.successes() < need || len(s.active) > 0 {
		return nil
	}
	return s.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
}

// conclude notes why the job ends at once, and that it has when its last pod is counted and gone.
func (s *state) conclude() {
	if s.end == nil {
		return
	}
	if find(s.status.Conditions, s.end.Type) == nil {
		s.status.Conditions = append(s.status.Conditions, *s.end)
	}
	u := s.status.UncountedTerminatedPods
	if len(s.active)+len(s.terminating)+len(s.tracked)+len(u.Succeeded)+len(u.Failed) > 0 {
		return
	}
	if s.end.Type == batchv1.JobFailureTarget {
		s.status.Conditions = append(s.status.Conditions, *s.condition(batchv1.JobFailed, s.end.Reason, s.end.Message))
		s.event(corev1.EventTypeWarning, s.end.Reason, s.end.Message)
		return
	}
	s.status.Conditions = append(s.status.Conditions, *s.condition(batchv1.JobComplete, s.end.Reason, s.end.Message))
	s.status.CompletionTime = &metav1.Time{Time: s.now}
	if c := s.job.Spec.Completions; c != nil && s.status.Succeeded > *c {
		s.event(corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods appeared")
	}
	s.event(corev1.EventTypeNormal, "Completed", "Job completed")
}

// resume notes that a job goes on after it was suspended; its deadline begins anew.
func (s *state) resume() {
	c := find(s.status.Conditions, batchv1.JobSuspended)
	if c == nil || suspended(s.job) || s.job.DeletionTimestamp != nil {
		return
	}
	*c = *s.condition(batchv1.JobSuspended, "JobResumed", "Job resumed")
	c.Status = corev1.ConditionFalse
	s.status.StartTime = &metav1.Time{Time: s.now}
	s.event(corev1.EventTypeNormal, "Resumed", "Job resumed")
}

func (s *state) suspend() {
	if !suspended(s.job) || find(s.status.Conditions, batchv1.JobSuspended) != nil {
		return
	}
	c := s.condition(batchv1.JobSuspended, "JobSuspended", "Job suspended")
	s.event(corev1.EventTypeNormal, "Suspended", "Job suspended")
	at := slices.IndexFunc(s.status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobSuspended })
	if at >= 0 {
		s.status.Conditions[at] = *c
		return
	}
	s.status.Conditions = append(s.status.Conditions, *c)
}

// count writes the numbers of pods that go on.
func (s *state) count() {
	leaving := len(s.discard) + len(s.stop)
	var ready int32
	for _, p := range s.active {
		if _, ok := pods.Ready(p); ok && !slices.Contains(s.discard, p) && !slices.Contains(s.stop, p) {
			ready++
		}
	}
	terminating := int32(len(s.terminating))
	s.status.Active, s.status.Ready, s.status.Terminating = int32(len(s.active)-leaving), &ready, &terminating
}
