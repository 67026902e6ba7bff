package job

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	minDelay = 10 * time.Second
	maxDelay = 10 * time.Minute
)

// failures is how many pods of a job have failed since the last success, and when the last one did.
type failures struct {
	count int
	last  time.Time
}

// after returns the failures when these pods have ended too.
func (f failures) after(succeeded, failed []*corev1.Pod) failures {
	if len(succeeded) == 0 && len(failed) == 0 {
		return f
	}
	var success time.Time
	for _, p := range succeeded {
		if at := finishedAt(p); at.After(success) {
			success = at
		}
	}
	if len(succeeded) > 0 {
		f = failures{}
	}
	for _, p := range failed {
		at := finishedAt(p)
		if len(succeeded) > 0 && !at.After(success) {
			continue
		}
		f.count++
		if at.After(f.last) {
			f.last = at
		}
	}
	return f
}

// wait returns how long no pod may be made yet.
func (f failures) wait(now time.Time) time.Duration {
	if f.count == 0 {
		return 0
	}
	delay := minDelay
	for n := 1; n < f.count && delay < maxDelay; n++ {
		delay *= 2
	}
	return max(min(delay, maxDelay)-now.Sub(f.last), 0)
}

// finishedAt is when the pod ended, as well as can be told: by its containers, else by when it ceased to be ready, was
// told to stop, or was made.
func finishedAt(p *corev1.Pod) time.Time {
	if at := containersFinishedAt(p); !at.IsZero() {
		return at
	}
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero() {
			return c.LastTransitionTime.Time
		}
	}
	if d := p.DeletionTimestamp; d != nil {
		var grace time.Duration
		if g := p.DeletionGracePeriodSeconds; g != nil {
			grace = time.Duration(*g) * time.Second
		}
		return d.Add(-grace)
	}
	return p.CreationTimestamp.Time
}

// containersFinishedAt is when the last container ended, zero when one has not.
func containersFinishedAt(p *corev1.Pod) (latest time.Time) {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		t := s.State.Terminated
		if t == nil || t.FinishedAt.IsZero() {
			return time.Time{}
		}
		if t.FinishedAt.After(latest) {
			latest = t.FinishedAt.Time
		}
	}
	return latest
}
