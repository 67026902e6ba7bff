package replicaset

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/replication/pods"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func replicaSet(n int32) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "rs", Generation: 4}}
	rs.Spec.Replicas = &n
	rs.Spec.Template.Labels = map[string]string{"app": "web", "tier": "front"}
	return rs
}

// some returns n pods that have been ready for age.
func some(n int, age time.Duration, change func(*corev1.Pod)) []*corev1.Pod {
	out := make([]*corev1.Pod, n)
	for i := range out {
		out[i] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("web-", i), Labels: map[string]string{"app": "web", "tier": "front"}}}
		out[i].Status.Phase = corev1.PodRunning
		out[i].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-age))}}
		if change != nil {
			change(out[i])
		}
	}
	return out
}

func failed(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }

func stopping(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} }

func TestMissingPodsAreMadeAndSurplusOnesDeleted(t *testing.T) {
	own := append(some(2, time.Hour, nil), append(some(3, time.Hour, failed), some(1, time.Hour, stopping)...)...)
	require.Equal(t, steps{create: 3}, plan(replicaSet(5), own, own, now), "pods that ended or are stopping do not count")
	require.Len(t, plan(replicaSet(0), own, own, now).remove, 2)
	require.Equal(t, steps{}, plan(replicaSet(2), own, own, now))
	require.Equal(t, steps{create: pods.MaxPerReconcile}, plan(replicaSet(100000), nil, nil, now))
	leaving := replicaSet(5)
	leaving.DeletionTimestamp = &metav1.Time{Time: now}
	require.Equal(t, steps{}, plan(leaving, own, own, now))
}

func TestStatusCounts(t *testing.T) {
	rs := replicaSet(9)
	rs.Spec.MinReadySeconds = 60
	own := some(2, time.Hour, nil)
	own = append(own, some(3, 20*time.Second, nil)...)
	own = append(own, some(1, time.Hour, func(p *corev1.Pod) { p.Status.Conditions = nil })...)
	own = append(own, some(1, time.Hour, func(p *corev1.Pod) { delete(p.Labels, "tier") })...)
	own = append(own, some(2, time.Hour, stopping)...)
	own = append(own, some(1, time.Hour, failed)...)
	status, after := statusOf(rs, own, nil, now)
	two := int32(2)
	require.Equal(t, appsv1.ReplicaSetStatus{
		Replicas: 7, FullyLabeledReplicas: 6, ReadyReplicas: 6, AvailableReplicas: 3, TerminatingReplicas: &two, ObservedGeneration: 4,
	}, status)
	require.Equal(t, 40*time.Second, after)
}

func TestAFailureIsShownUntilItHasPassed(t *testing.T) {
	rs := replicaSet(3)
	rs.Status, _ = statusOf(rs, nil, errors.New("exceeded quota"), now)
	require.Equal(t, "FailedCreate", rs.Status.Conditions[0].Reason)
	require.Equal(t, "exceeded quota", rs.Status.Conditions[0].Message)
	again, _ := statusOf(rs, nil, errors.New("exceeded quota"), now.Add(time.Minute))
	require.Equal(t, rs.Status, again, "the same failure again is no change to write")
	rs.Status, _ = statusOf(rs, some(3, 0, nil), nil, now)
	require.Empty(t, rs.Status.Conditions)
	failing, _ := statusOf(rs, some(4, 0, nil), errors.New("forbidden"), now)
	require.Equal(t, "FailedDelete", failing.Conditions[0].Reason)
}
