package server_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// runningPod is a pod on a node that runs, ready or not.
func (w *world) runningPod(t *testing.T, name string, ready corev1.ConditionStatus) *corev1.Pod {
	t.Helper()
	p := newPod(name)
	p.Labels = map[string]string{"app": "web"}
	require.NoError(t, w.Create(w.ctx, p))
	w.bind(t, p)
	require.NoError(t, w.Get(w.ctx, p, "default", name))
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	require.NoError(t, w.UpdateStatus(w.ctx, p))
	return p
}

func (w *world) budget(t *testing.T, name string, status policyv1.PodDisruptionBudgetStatus) *policyv1.PodDisruptionBudget {
	t.Helper()
	least := intstr.FromInt32(2)
	b := &policyv1.PodDisruptionBudget{ObjectMeta: named(name), Spec: policyv1.PodDisruptionBudgetSpec{
		MinAvailable: &least, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
	}}
	require.NoError(t, w.Create(w.ctx, b))
	b.Status = status
	require.NoError(t, w.UpdateStatus(w.ctx, b))
	return b
}

func (w *world) evict(p *corev1.Pod, options *metav1.DeleteOptions) error {
	return w.CreateSubresource(w.ctx, p, &policyv1.Eviction{ObjectMeta: named(p.Name), DeleteOptions: options}, p.Name, "eviction")
}

func requireGuarded(t *testing.T, err error, cause string) {
	t.Helper()
	require.True(t, apierrors.IsTooManyRequests(err), "%v", err)
	require.EqualError(t, err, "Cannot evict pod as it would violate the pod's disruption budget.")
	var status apierrors.APIStatus
	require.True(t, errors.As(err, &status))
	require.EqualValues(t, 429, status.Status().Code)
	require.Equal(t, []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: cause}}, status.Status().Details.Causes)
}

func TestEvictionTakesFromTheBudget(t *testing.T) {
	w := newWorld(t)
	a, b := w.runningPod(t, "a", corev1.ConditionTrue), w.runningPod(t, "b", corev1.ConditionTrue)
	budget := w.budget(t, "web", policyv1.PodDisruptionBudgetStatus{})
	requireGuarded(t, w.evict(a, nil), "The disruption budget web is still being processed by the server.")

	budget.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: budget.Generation, DisruptionsAllowed: 1, CurrentHealthy: 3, DesiredHealthy: 2, ExpectedPods: 3}
	require.NoError(t, w.UpdateStatus(w.ctx, budget))
	require.NoError(t, w.evict(a, &metav1.DeleteOptions{DryRun: []string{"All"}}))
	require.NoError(t, w.Get(w.ctx, budget, "default", "web"))
	require.EqualValues(t, 1, budget.Status.DisruptionsAllowed)

	require.NoError(t, w.evict(a, nil))
	require.NoError(t, w.Get(w.ctx, a, "default", "a"))
	require.NotNil(t, a.DeletionTimestamp)
	require.Equal(t, "EvictionByEvictionAPI", a.Status.Conditions[len(a.Status.Conditions)-1].Reason)
	require.NoError(t, w.Get(w.ctx, budget, "default", "web"))
	require.Zero(t, budget.Status.DisruptionsAllowed)
	require.Contains(t, budget.Status.DisruptedPods, "a")

	requireGuarded(t, w.evict(b, nil), "The disruption budget web needs 2 healthy pods and has 3 currently")
	require.NoError(t, w.Get(w.ctx, b, "default", "b"))
	require.Nil(t, b.DeletionTimestamp)

	w.budget(t, "more", policyv1.PodDisruptionBudgetStatus{})
	require.EqualError(t, w.evict(b, nil), "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
}

func TestUnhealthyAndPendingPodsAreEvicted(t *testing.T) {
	w := newWorld(t)
	sick := w.runningPod(t, "sick", corev1.ConditionFalse)
	waiting := newPod("waiting")
	waiting.Labels = sick.Labels
	require.NoError(t, w.Create(w.ctx, waiting))
	budget := w.budget(t, "web", policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DesiredHealthy: 2, CurrentHealthy: 1, ExpectedPods: 3})
	require.NoError(t, w.evict(waiting, nil))
	requireGuarded(t, w.evict(sick, nil), "The disruption budget web needs 2 healthy pods and has 1 currently")
	always := policyv1.AlwaysAllow
	budget.Spec.UnhealthyPodEvictionPolicy = &always
	require.NoError(t, w.Update(w.ctx, budget))
	require.NoError(t, w.evict(sick, nil))
}
