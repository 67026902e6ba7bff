package podgc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pod(name string, age int, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))},
		Status:     corev1.PodStatus{Phase: phase},
	}
}

func TestTheOldestTerminatedPodsAreTooMany(t *testing.T) {
	pods := []*corev1.Pod{pod("new", 1, corev1.PodSucceeded), pod("oldest", 9, corev1.PodFailed), pod("old", 5, corev1.PodSucceeded), pod("runs", 20, corev1.PodRunning)}
	require.Empty(t, surplus(pods, 3))
	require.Equal(t, []*corev1.Pod{pods[1], pods[2]}, surplus(pods, 1))
	now := metav1.Now()
	pods[1].DeletionTimestamp = &now
	require.Equal(t, []*corev1.Pod{pods[2]}, surplus(pods, 1))
}

func TestOutOfServiceNeedsAnAdministratorAndASilentNode(t *testing.T) {
	node := &corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}}}
	require.True(t, outOfService(node))
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	require.False(t, outOfService(node))
	require.False(t, outOfService(&corev1.Node{}))
}

func TestAPodIsFailedOnce(t *testing.T) {
	out, changed := failed(pod("p", 1, corev1.PodRunning), "node no longer exists")
	require.True(t, changed)
	require.Equal(t, corev1.PodFailed, out.Status.Phase)
	require.Equal(t, "PodGC: node no longer exists", out.Status.Conditions[0].Message)
	_, changed = failed(out, "again")
	require.False(t, changed)
}
