package job

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/replication/pods"
)

// maxRelease bounds how many pods one plan counts, and so the size of the status between the steps.
const maxRelease = 500

// account enters pods that have ended into the status, so that their finalizers can go. A pod is counted in three
// steps, each of which can be repeated: its UID stands in the status (of an indexed success, its index does); then its
// finalizer goes; then the UID becomes a number.
func (s *state) account() {
	for _, p := range s.pods {
		if !s.tracked[p.UID] || !s.releasable(p) {
			continue
		}
		s.enter(p)
		if s.release = append(s.release, p); len(s.release) == maxRelease {
			return
		}
	}
}

// releasable says that the pod's fate is known, or does not matter any more.
func (s *state) releasable(p *corev1.Pod) bool {
	switch {
	case slices.Contains(s.discard, p):
		return false // these are released on the way
	case s.end != nil && pods.Active(p):
		return slices.Contains(s.stop, p)
	case s.end != nil, s.job.DeletionTimestamp != nil, p.Status.Phase == corev1.PodSucceeded:
		return true
	case !failed(s.job, p):
		return false
	}
	return !perIndex(s.job) || s.delayed[indexOf(p, completions(s.job))] != p
}

func (s *state) enter(p *corev1.Pod) {
	u := s.status.UncountedTerminatedPods
	if slices.Contains(u.Succeeded, p.UID) || slices.Contains(u.Failed, p.UID) {
		return
	}
	if p.Status.Phase == corev1.PodSucceeded {
		if !indexed(s.job) {
			u.Succeeded = append(u.Succeeded, p.UID)
		}
		return
	}
	// What a failed job still runs is as good as failed.
	lost := s.end != nil && s.end.Type == batchv1.JobFailureTarget
	if !lost && !failed(s.job, p) || indexed(s.job) && indexOf(p, completions(s.job)) == noIndex || !judge(s.job, p).counts() {
		return
	}
	u.Failed = append(u.Failed, p.UID)
}
