package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of conditions, as Kubernetes' clients know them.
const (
	reasonNewSet      = "NewReplicaSetCreated"
	reasonFoundSet    = "FoundNewReplicaSet"
	reasonUpdated     = "ReplicaSetUpdated"
	reasonComplete    = "NewReplicaSetAvailable"
	reasonTimedOut    = "ProgressDeadlineExceeded"
	reasonCreateError = "ReplicaSetCreateError"
	reasonPaused      = "DeploymentPaused"
	reasonResumed     = "DeploymentResumed"
	reasonEnough      = "MinimumReplicasAvailable"
	reasonTooFew      = "MinimumReplicasUnavailable"
)

func sameStatus(a, b *appsv1.DeploymentStatus) bool { return equality.Semantic.DeepEqual(a, b) }

// hasDeadline says that progress is watched at all.
func (r *rollout) hasDeadline() bool {
	limit := r.deployment.Spec.ProgressDeadlineSeconds
	return limit != nil && *limit != math.MaxInt32
}

// setCondition sets a condition of the planned status. The same status and reason again change nothing; the same
// status keeps the time of its last transition.
func (r *rollout) setCondition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(r.now)
	r.putCondition(appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now})
}

func (r *rollout) putCondition(c appsv1.DeploymentCondition) {
	if have := conditionOf(&r.deployment.Status, c.Type); have != nil {
		if have.Status == c.Status && have.Reason == c.Reason {
			return
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
	}
	r.dropCondition(c.Type)
	r.deployment.Status.Conditions = append(r.deployment.Status.Conditions, c)
}

func (r *rollout) dropCondition(kind appsv1.DeploymentConditionType) {
	s := &r.deployment.Status
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
}

// notePaused stops and restarts the clock of the progress deadline.
func (r *rollout) notePaused() {
	if !r.hasDeadline() {
		return
	}
	c := conditionOf(&r.deployment.Status, appsv1.DeploymentProgressing)
	if c != nil && c.Reason == reasonTimedOut {
		return
	}
	known := c != nil && c.Reason == reasonPaused
	switch {
	case r.deployment.Spec.Paused && !known:
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !r.deployment.Spec.Paused && known:
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
}

// finishStatus counts and sets the conditions that follow from the counts. It returns when the progress deadline
// should be looked at, 0 for never.
func (r *rollout) finishStatus(progress bool) time.Duration {
	r.count()
	if progress {
		r.judgeProgress()
		r.passOnFailure()
	}
	_, unavailable := bounds(r.deployment)
	if r.deployment.Status.AvailableReplicas >= r.replicas()-unavailable {
		r.setCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue, reasonEnough, "Deployment has minimum availability.")
	} else {
		r.setCondition(appsv1.DeploymentAvailable, corev1.ConditionFalse, reasonTooFew, "Deployment does not have minimum availability.")
	}
	if !progress {
		return 0
	}
	return r.untilDeadline()
}

func (r *rollout) count() {
	s := &r.deployment.Status
	sets := r.all()
	s.ObservedGeneration = r.deployment.Generation
	s.Replicas = total(sets, func(s *set) int32 { return s.get().Status.Replicas })
	s.ReadyReplicas = total(sets, func(s *set) int32 { return s.get().Status.ReadyReplicas })
	s.AvailableReplicas = total(sets, func(s *set) int32 { return s.get().Status.AvailableReplicas })
	s.UnavailableReplicas = max(total(sets, (*set).replicas)-s.AvailableReplicas, 0)
	s.TerminatingReplicas = ptrTo(total(sets, func(s *set) int32 {
		if n := s.get().Status.TerminatingReplicas; n != nil {
			return *n
		}
		return 0
	}))
	s.UpdatedReplicas = 0
	if r.current != nil {
		s.UpdatedReplicas = r.current.get().Status.Replicas
	}
}

// complete says that all pods are of the current template and serve.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	want := wanted(d)
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

// judgeProgress says in the Progressing condition whether the rollout is done, moves, or has stood still for too long.
func (r *rollout) judgeProgress() {
	if !r.hasDeadline() {
		r.dropCondition(appsv1.DeploymentProgressing)
		return
	}
	now, before := &r.deployment.Status, &r.was.Status
	have := conditionOf(now, appsv1.DeploymentProgressing)
	if have != nil && have.Reason == reasonComplete && now.Replicas == now.UpdatedReplicas {
		return // pods that come and go later are no rollout
	}
	subject := fmt.Sprintf("Deployment %q", r.deployment.Name)
	if r.current != nil {
		subject = fmt.Sprintf("ReplicaSet %q", r.current.get().Name)
	}
	switch {
	case complete(r.deployment, now):
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonComplete, subject+" has successfully progressed.")
	case moved(before, now):
		r.noteMove(have, subject+" is progressing.")
	case r.timedOut():
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, subject+" has timed out progressing.")
	}
}

// moved says that there are more new, fewer old, more ready or more available pods than before.
func moved(before, now *appsv1.DeploymentStatus) bool {
	return now.UpdatedReplicas > before.UpdatedReplicas ||
		now.Replicas-now.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		now.ReadyReplicas > before.ReadyReplicas || now.AvailableReplicas > before.AvailableReplicas
}

// noteMove starts the deadline anew even when the condition already says so.
func (r *rollout) noteMove(have *appsv1.DeploymentCondition, message string) {
	since := metav1.NewTime(r.now)
	if have != nil && have.Status == corev1.ConditionTrue {
		since = have.LastTransitionTime
	}
	r.dropCondition(appsv1.DeploymentProgressing)
	r.putCondition(appsv1.DeploymentCondition{
		Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: reasonUpdated, Message: message,
		LastUpdateTime: metav1.NewTime(r.now), LastTransitionTime: since,
	})
}

func (r *rollout) deadline() time.Duration {
	return time.Duration(*r.deployment.Spec.ProgressDeadlineSeconds) * time.Second
}

// timedOut says that the last move is longer ago than the deadline; a finished rollout has none.
func (r *rollout) timedOut() bool {
	c := conditionOf(&r.deployment.Status, appsv1.DeploymentProgressing)
	switch {
	case c == nil || c.Reason == reasonComplete:
		return false
	case c.Reason == reasonTimedOut:
		return true
	}
	return r.now.Sub(c.LastUpdateTime.Time) > r.deadline()
}

func (r *rollout) untilDeadline() time.Duration {
	c := conditionOf(&r.deployment.Status, appsv1.DeploymentProgressing)
	if !r.hasDeadline() || c == nil || c.Reason == reasonComplete || c.Reason == reasonTimedOut {
		return 0
	}
	// Times in conditions are in whole seconds.
	return max(c.LastUpdateTime.Add(r.deadline()).Sub(r.now), 0) + time.Second
}

// passOnFailure shows why a ReplicaSet cannot make or delete pods: the current one's reason before the others'.
func (r *rollout) passOnFailure() {
	sets := r.all()
	for i := len(sets) - 1; i >= 0; i-- {
		for _, c := range sets[i].get().Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				r.putCondition(appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastUpdateTime: c.LastTransitionTime, LastTransitionTime: c.LastTransitionTime,
				})
				return
			}
		}
	}
	r.dropCondition(appsv1.DeploymentReplicaFailure)
}

// createFailed returns d with the condition that its new ReplicaSet could not be made, nil when it says so already.
func createFailed(d *appsv1.Deployment, message string, now time.Time) *appsv1.Deployment {
	r := newRollout(observed{deployment: d, now: now})
	if !r.hasDeadline() {
		return nil
	}
	r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonCreateError, message)
	if sameStatus(&r.deployment.Status, &d.Status) {
		return nil
	}
	return r.deployment
}
