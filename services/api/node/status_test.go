package node

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func conditionsOf(pairs ...string) []corev1.PodCondition {
	var out []corev1.PodCondition
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, corev1.PodCondition{Type: corev1.PodConditionType(pairs[i]), Status: corev1.ConditionStatus(pairs[i+1])})
	}
	return out
}

func TestReportedStatusLeavesWhatTheControlPlaneOwns(t *testing.T) {
	pod := &corev1.Pod{
		Spec: corev1.PodSpec{ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "example.com/gate"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodPending, NominatedNodeName: "n", QOSClass: corev1.PodQOSBurstable,
			Conditions: conditionsOf("PodScheduled", "True", "example.com/gate", "True", "Ready", "False", "ContainersReady", "False", "DisruptionTarget", "True"),
		},
	}
	got := mergeStatus(pod, &corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.0.0.1",
		Conditions: conditionsOf("example.com/gate", "False", "Ready", "True", "PodScheduled", "True"),
	})
	require.Equal(t, corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.0.0.1", NominatedNodeName: "n", QOSClass: corev1.PodQOSBurstable,
		// ContainersReady is the node's, and it no longer says so.
		Conditions: conditionsOf("example.com/gate", "True", "DisruptionTarget", "True", "Ready", "True", "PodScheduled", "True"),
	}, got)
}
