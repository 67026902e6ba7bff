package job

import (
	"cmp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/services/replication/pods"
)

// observed is everything that a decision about a job looks at.
type observed struct {
	job  *batchv1.Job
	pods []*corev1.Pod
	// failures are remembered from the last plan; nil after a restart: the pods that are still there tell then.
	failures *failures
	now      time.Time
}

// plan is what to do, in this order: discard, stop and create pods, store the status, then release pods.
type plan struct {
	// discard are pods that the job does not want. They lose their finalizer before they are deleted and count as
	// nothing.
	discard []*corev1.Pod
	// stop are pods of a job that ends. The status counts them already.
	stop   []*corev1.Pod
	create []birth
	// status counts all but what create makes.
	status batchv1.JobStatus
	// release are pods that the status accounts for: without their finalizer they may go.
	release  []*corev1.Pod
	failures failures
	events   []event
	// after is when time alone changes the plan, 0 when it does not.
	after time.Duration
}

// birth is a pod to be made.
type birth struct {
	index int
	// replaces is the failed pod of the index that hands on its count of failures; nil where none does.
	replaces *corev1.Pod
}

type event struct{ kind, reason, message string }

// state is a plan in the making. The pods are sorted by index, the oldest first.
type state struct {
	observed
	plan
	active, terminating []*corev1.Pod
	// tracked pods carry the finalizer: they have not been counted for good.
	tracked map[types.UID]bool
	// succeeded and failed have ended and do not stand in the status yet.
	succeeded, failed []*corev1.Pod
	// counted were the completed indexes in the status, done are they now; broken are the failed ones.
	counted, done, broken indexes
	// delayed are, by index, the failed pods to be replaced: they keep their finalizer until then.
	delayed map[int]*corev1.Pod
	// end is the condition FailureTarget or SuccessCriteriaMet, nil while the job goes on.
	end *batchv1.JobCondition
}

// makePlan decides. The job is neither finished nor managed by somebody else.
func makePlan(o observed) plan {
	s := newState(o)
	s.settle()
	s.sortOut()
	s.tallyIndexes()
	s.resume()
	s.decide()
	switch {
	case s.end != nil:
		s.stop = s.active[:min(len(s.active), pods.MaxPerReconcile)]
	case s.job.DeletionTimestamp == nil:
		s.scale()
		if s.end = s.completed(); s.end == nil {
			s.suspend()
		}
	}
	s.account()
	s.count()
	s.conclude()
	return s.plan
}

func newState(o observed) *state {
	s := &state{observed: o, tracked: map[types.UID]bool{}}
	s.status = *o.job.Status.DeepCopy()
	if s.status.UncountedTerminatedPods == nil {
		s.status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	if s.status.StartTime == nil && !suspended(o.job) {
		s.status.StartTime = &metav1.Time{Time: o.now}
	}
	limit := completions(o.job)
	s.pods = slices.Clone(o.pods)
	slices.SortFunc(s.pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(indexOf(a, limit), indexOf(b, limit)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range s.pods {
		if tracked(p) {
			s.tracked[p.UID] = true
		}
	}
	return s
}

// settle adds pods that have lost their finalizer to the counters: the last of the three steps by which a pod is
// counted exactly once.
func (s *state) settle() {
	u := s.status.UncountedTerminatedPods
	settled := func(list []types.UID) ([]types.UID, int32) {
		left := slices.DeleteFunc(list, func(uid types.UID) bool { return !s.tracked[uid] })
		return left, int32(len(list) - len(left))
	}
	var succeeded, failed int32
	u.Succeeded, succeeded = settled(u.Succeeded)
	u.Failed, failed = settled(u.Failed)
	s.status.Failed += failed
	if !indexed(s.job) {
		s.status.Succeeded += succeeded
	}
}

// sortOut tells the pods apart.
func (s *state) sortOut() {
	var before, beforeFailed []*corev1.Pod
	u := s.status.UncountedTerminatedPods
	for _, p := range s.pods {
		switch {
		case pods.Active(p):
			s.active = append(s.active, p)
		case pods.Terminating(p):
			s.terminating = append(s.terminating, p)
		}
		switch known := !s.tracked[p.UID] || slices.Contains(u.Succeeded, p.UID) || slices.Contains(u.Failed, p.UID); {
		case p.Status.Phase == corev1.PodSucceeded && known:
			before = append(before, p)
		case p.Status.Phase == corev1.PodSucceeded:
			s.succeeded = append(s.succeeded, p)
		case p.Status.Phase == corev1.PodFailed && known:
			beforeFailed = append(beforeFailed, p)
		case failed(s.job, p) && !known:
			s.failed = append(s.failed, p)
		}
	}
	if s.observed.failures != nil {
		s.plan.failures = s.observed.failures.after(s.succeeded, s.failed)
	} else {
		s.plan.failures = failures{}.after(append(before, s.succeeded...), append(beforeFailed, s.failed...))
	}
}

func (s *state) event(kind, reason, message string) {
	s.events = append(s.events, event{kind, reason, message})
}

func (s *state) wakeAfter(d time.Duration) {
	if d > 0 && (s.after == 0 || d < s.after) {
		s.after = d
	}
}

func indexed(job *batchv1.Job) bool {
	return job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
}

func perIndex(job *batchv1.Job) bool { return indexed(job) && job.Spec.BackoffLimitPerIndex != nil }

func suspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

func completions(job *batchv1.Job) int { return number(job.Spec.Completions, 0) }

func number(n *int32, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return int(*n)
}

func tracked(p *corev1.Pod) bool { return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) }

// onlyFailed says that a pod is replaced only when it has failed, not as soon as it is told to stop.
func onlyFailed(job *batchv1.Job) bool {
	return job.Spec.PodFailurePolicy != nil || job.Spec.PodReplacementPolicy != nil && *job.Spec.PodReplacementPolicy == batchv1.Failed
}

// failed says that the pod counts as failed: one that is told to stop does too, unless the job waits for its end.
func failed(job *batchv1.Job, p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || !onlyFailed(job) && pods.Terminating(p)
}
