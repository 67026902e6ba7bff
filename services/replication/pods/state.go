// Package pods is what the workload controllers have in common about pods: which ones count, which to delete first, and
// how many are made and deleted at a time.
package pods

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"karve.dev/karve/internal/conditions"
)

// Finished says that the pod's containers have ended for good.
func Finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Active says that the pod counts towards its controller's replicas.
func Active(p *corev1.Pod) bool { return !Finished(p) && p.DeletionTimestamp == nil }

// Terminating says that the pod was told to stop and has not ended yet.
func Terminating(p *corev1.Pod) bool { return !Finished(p) && p.DeletionTimestamp != nil }

// Ready says that the pod serves, and since when.
func Ready(p *corev1.Pod) (since time.Time, ready bool) {
	if c := conditions.Pod(p, corev1.PodReady); c != nil {
		return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
	}
	return time.Time{}, false
}

// Available says that the pod has been ready for minReady; when it is ready but not yet for so long, wait is how long
// it still takes.
func Available(p *corev1.Pod, minReady time.Duration, now time.Time) (available bool, wait time.Duration) {
	since, ready := Ready(p)
	if !ready {
		return false, 0
	}
	if minReady <= 0 {
		return true, 0
	}
	if since.IsZero() {
		return false, 0
	}
	wait = minReady - now.Sub(since)
	return wait <= 0, max(wait, 0)
}

// Changed says whether an update touched what a workload controller looks at: whose the pod is, and whether it counts
// and is ready.
func Changed(old, new *corev1.Pod) bool {
	if old == nil || new == nil {
		return true
	}
	oldSince, oldReady := Ready(old)
	newSince, newReady := Ready(new)
	return oldReady != newReady || !oldSince.Equal(newSince) || old.Status.Phase != new.Status.Phase ||
		(old.DeletionTimestamp == nil) != (new.DeletionTimestamp == nil) ||
		!equality.Semantic.DeepEqual(old.Labels, new.Labels) ||
		!equality.Semantic.DeepEqual(old.OwnerReferences, new.OwnerReferences)
}
