package podstate

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ending is the end that a node itself brings about: it runs short of something, or it shuts down.
type Ending struct {
	// Reason and Message are the pod's own from then on.
	Reason, Message string
	// Grace is how long its containers may take to stop.
	Grace time.Duration
	// Own is set when the pod is at fault: then it has failed like others, and was not disrupted.
	Own bool
	// Rejected is set when the pod was never taken: nothing of it has run here.
	Rejected bool
}

// rejected is how a pod looks that the node has not taken.
func (s *describer) rejected() corev1.PodStatus {
	st := corev1.PodStatus{
		ObservedGeneration: s.pod.Generation, StartTime: s.obs.Previous.StartTime, QOSClass: QOSClass(s.pod),
		Phase: corev1.PodFailed, Reason: s.obs.Ending.Reason, Message: "Pod was rejected: " + s.obs.Ending.Message,
	}
	if st.StartTime == nil {
		st.StartTime = &metav1.Time{Time: s.now}
	}
	for _, c := range s.pod.Status.Conditions {
		if c.Type == corev1.PodScheduled || !slices.Contains(Owned, c.Type) {
			st.Conditions = append(st.Conditions, c)
		}
	}
	return st
}

// ended tells whether the node has ended the pod; as long as something of it runs, its phase is what it was.
func (s *describer) ended(st *corev1.PodStatus) bool {
	e := s.obs.Ending
	if e == nil {
		return false
	}
	for _, op := range s.obs.Busy {
		if op.Verb == Start || op.Verb == MakeSandbox {
			st.Phase = cmp.Or(s.obs.Previous.Phase, corev1.PodPending)
		}
	}
	if s.obs.anyRunning() {
		st.Phase = corev1.PodRunning
	}
	if st.Phase == "" {
		st.Phase, st.Reason, st.Message = corev1.PodFailed, e.Reason, e.Message
	}
	return true
}

// disruption tells controllers that the pod did not fail by itself; nil when it was not the node that ended it.
func (s *describer) disruption() *corev1.PodCondition {
	if s.obs.Ending == nil || s.obs.Ending.Own {
		return nil
	}
	c := s.condition(corev1.DisruptionTarget, condition{true, corev1.PodReasonTerminationByKubelet, s.obs.Ending.Message})
	return &c
}
