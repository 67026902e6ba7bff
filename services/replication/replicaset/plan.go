package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"karve.dev/karve/services/replication/pods"
)

// steps is what to do now; at most one of the fields is set.
type steps struct {
	create int
	remove []*corev1.Pod
}

// plan compares the pods that a ReplicaSet has with those that it should have. related are the pods of the whole
// application, its own among them.
func plan(rs *appsv1.ReplicaSet, own, related []*corev1.Pod, now time.Time) steps {
	if rs.DeletionTimestamp != nil {
		return steps{}
	}
	active := keep(own, pods.Active)
	missing := int(replicas(rs)) - len(active)
	switch {
	case missing > 0:
		return steps{create: min(missing, pods.MaxPerReconcile)}
	case missing < 0:
		return steps{remove: pods.Surplus(active, keep(related, pods.Active), min(-missing, pods.MaxPerReconcile), now)}
	}
	return steps{}
}

func replicas(rs *appsv1.ReplicaSet) int32 {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return *rs.Spec.Replicas
}

func keep(all []*corev1.Pod, want func(*corev1.Pod) bool) []*corev1.Pod {
	out := make([]*corev1.Pod, 0, len(all))
	for _, p := range all {
		if want(p) {
			out = append(out, p)
		}
	}
	return out
}

// statusOf counts the pods. failure is why not everything could be done, nil when it could. after is when the status
// changes by the passing of time alone: a pod has been ready for long enough; 0 when it does not.
func statusOf(rs *appsv1.ReplicaSet, own []*corev1.Pod, failure error, now time.Time) (status appsv1.ReplicaSetStatus, after time.Duration) {
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	var terminating int32
	for _, p := range own {
		if pods.Terminating(p) {
			terminating++
		}
		if !pods.Active(p) {
			continue
		}
		status.Replicas++
		if template.Matches(labels.Set(p.Labels)) {
			status.FullyLabeledReplicas++
		}
		if _, ready := pods.Ready(p); !ready {
			continue
		}
		status.ReadyReplicas++
		available, wait := pods.Available(p, minReady, now)
		if available {
			status.AvailableReplicas++
		} else if wait > 0 && (after == 0 || wait < after) {
			after = wait
		}
	}
	status.TerminatingReplicas = &terminating
	status.ObservedGeneration = rs.Generation
	status.Conditions = conditions(rs, status.Replicas, failure, now)
	return status, after
}

// conditions are the ReplicaSet's own, with ReplicaFailure as long as there is one.
func conditions(rs *appsv1.ReplicaSet, have int32, failure error, now time.Time) []appsv1.ReplicaSetCondition {
	var out []appsv1.ReplicaSetCondition
	known := false
	for _, c := range rs.Status.Conditions {
		if c.Type != appsv1.ReplicaSetReplicaFailure {
			out = append(out, c)
		} else if failure != nil {
			known, out = true, append(out, c)
		}
	}
	if failure == nil || known {
		return out
	}
	reason := "FailedCreate"
	if have > replicas(rs) {
		reason = "FailedDelete"
	}
	return append(out, appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: reason, Message: failure.Error(),
		LastTransitionTime: metav1.NewTime(now),
	})
}

func sameStatus(a, b appsv1.ReplicaSetStatus) bool { return equality.Semantic.DeepEqual(a, b) }
