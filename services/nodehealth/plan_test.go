package nodehealth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func node(ready corev1.ConditionStatus, taints ...corev1.Taint) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	n.Spec.Taints = taints
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	return n
}

func keys(taints []corev1.Taint) []string {
	var out []string
	for _, t := range taints {
		out = append(out, t.Key+":"+string(t.Effect))
	}
	return out
}

func TestNodeTaintsFollowConditions(t *testing.T) {
	own := corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule}
	notReady := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	tests := []struct {
		name    string
		node    *corev1.Node
		silence time.Duration
		want    []string
		changed bool
	}{
		{"ready and heard of", node(corev1.ConditionTrue, own), time.Second, []string{"dedicated:NoSchedule"}, false},
		{"becomes ready", node(corev1.ConditionTrue, notReady, own), time.Second, []string{"dedicated:NoSchedule"}, true},
		{"not ready", node(corev1.ConditionFalse, notReady), time.Second, []string{"node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"}, true},
		{"silent", node(corev1.ConditionTrue, own), time.Minute, []string{"dedicated:NoSchedule", "node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := planNode(tt.node, now.Add(-tt.silence), now, 40*time.Second)
			require.Equal(t, tt.want, keys(p.taints))
			require.Equal(t, tt.changed, p.retaint)
			require.Equal(t, tt.silence >= 40*time.Second, p.silent)
		})
	}
}

func TestSilenceIsWrittenOnce(t *testing.T) {
	n := node(corev1.ConditionTrue)
	p := planNode(n, now.Add(-time.Minute), now, 40*time.Second)
	require.Len(t, p.conditions, 4)
	require.Equal(t, messageStopped, p.conditions[0].Message)
	n.Status.Conditions, n.Spec.Taints = p.conditions, p.taints
	p = planNode(n, now.Add(-time.Minute), now, 40*time.Second)
	require.Nil(t, p.conditions)
	require.False(t, p.retaint)
}

func TestHeartbeatsAreWrittenEverySoOften(t *testing.T) {
	last := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	conditions := func(age time.Duration) []corev1.NodeCondition {
		return []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(last.Add(-age))},
			{Type: "example.org/Disk", Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(last.Add(-time.Hour))},
		}
	}
	require.Nil(t, heard(conditions(4*time.Minute), last, 5*time.Minute))
	got := heard(conditions(5*time.Minute), last, 5*time.Minute)
	require.Equal(t, last, got[0].LastHeartbeatTime.Time)
	require.Equal(t, last.Add(-time.Hour), got[1].LastHeartbeatTime.Time, "who has made that condition tells of it")
}

func TestCordonTaints(t *testing.T) {
	n := node(corev1.ConditionTrue)
	n.Spec.Unschedulable = true
	p := planNode(n, now, now, 40*time.Second)
	require.Equal(t, []string{"node.kubernetes.io/unschedulable:NoSchedule"}, keys(p.taints))
}

func TestEvictionWaitsAsLongAsTolerated(t *testing.T) {
	seconds := int64(300)
	taint := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &metav1.Time{Time: now}}
	with := func(tolerations ...corev1.Toleration) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Tolerations: tolerations}}
	}
	bounded := corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}
	tests := []struct {
		name string
		pod  *corev1.Pod
		at   time.Time
		ok   bool
	}{
		{"no toleration: at once", with(), now, true},
		{"bounded", with(bounded), now.Add(5 * time.Minute), true},
		{"for ever", with(corev1.Toleration{Operator: corev1.TolerationOpExists}), time.Time{}, false},
		{"for ever and bounded: bounded", with(corev1.Toleration{Operator: corev1.TolerationOpExists}, bounded), now.Add(5 * time.Minute), true},
		{"another taint's", with(corev1.Toleration{Key: "x", Operator: corev1.TolerationOpExists}), now, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at, ok := evictAt(tt.pod, []corev1.Taint{taint}, now)
			require.Equal(t, tt.ok, ok)
			require.Equal(t, tt.at, at)
		})
	}
}
