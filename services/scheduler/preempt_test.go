package scheduler_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
)

// TestAnImportantPodGetsRoom: the least important pod is told to go, its room is kept for the one that it went for, and it
// says why.
func TestAnImportantPodGetsRoom(t *testing.T) {
	c := start(t)
	c.addNode("n1", "2")
	require.NoError(t, c.Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000}))
	c.addPod("small", "500m")
	c.addPod("large", "1500m")
	c.eventually("small", boundTo("n1"))
	c.eventually("large", boundTo("n1"))

	c.addPod("vip", "1", func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" })
	c.eventually("large", func(p *corev1.Pod) bool {
		if p.DeletionTimestamp == nil {
			return false
		}
		for _, cond := range p.Status.Conditions {
			if cond.Type == corev1.DisruptionTarget {
				return cond.Reason == "PreemptionByScheduler" && cond.Message == "default-scheduler: preempting to accommodate a higher priority pod"
			}
		}
		return false
	})
	c.eventually("vip", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "n1" && p.Spec.NodeName == "" })
	c.addPod("late", "500m")
	c.eventually("late", unschedulable("0/1 nodes are available: 1 Insufficient cpu."))

	now := int64(0)
	require.NoError(t, c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "large"}}, client.DeleteOptions{GracePeriodSeconds: &now}))
	c.eventually("vip", func(p *corev1.Pod) bool { return p.Spec.NodeName == "n1" && p.Status.NominatedNodeName == "" })
	c.eventually("late", boundTo("n1"))
	small := &corev1.Pod{}
	require.NoError(t, c.Get(t.Context(), small, "default", "small"))
	require.Nil(t, small.DeletionTimestamp, "it was not in the way")
	require.True(t, apierrors.IsNotFound(c.Get(t.Context(), &corev1.Pod{}, "default", "large")))
}
