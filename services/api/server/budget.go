package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/services/api/registry"
)

var gvkBudget = policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget")

const (
	// guardTries bounds how often an eviction begins anew because the pod became one that its budget guards.
	guardTries = 8
	// maxDisrupted bounds the evictions whose pods the disruption controller has not seen go.
	maxDisrupted = 2000
	// comeAgain is what a client waits, in seconds, while the budget is not counted yet.
	comeAgain = 10

	textGuarded = "Cannot evict pod as it would violate the pod's disruption budget."
)

// errGuarded: the pod that was free to go is no longer.
var errGuarded = errors.New("the pod is guarded by its disruption budget now")

// removeGuarded deletes a pod when its disruption budget has room, which it takes.
func (s *Server) removeGuarded(ctx context.Context, r *request, o *apiv1.DeleteOptions) error {
	for try := 1; ; try++ {
		charged, err := s.charge(ctx, r, o)
		if err != nil {
			return err
		}
		_, err = s.modify(ctx, r, o.GetDryRun(), func(old registry.Object) (Outcome, error) {
			pod := old.(*corev1.Pod)
			if changed := charged == idle || charged == unhealthy && conditions.PodReady(pod); changed && !unguarded(pod) {
				return Outcome{}, errGuarded
			}
			if pod.DeletionTimestamp == nil {
				markEvicted(pod, r)
			}
			return s.decideRemoval(ctx, r, old, o)
		})
		if !errors.Is(err, errGuarded) {
			return err
		}
		if try == guardTries {
			return apierrors.NewConflict(r.groupResource(), r.name, errGuarded)
		}
	}
}

// markEvicted tells why the pod goes.
func markEvicted(pod *corev1.Pod, r *request) {
	next := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		LastTransitionTime: metav1.NewTime(r.now).Rfc3339Copy(),
	}
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == next.Type {
			if c.Status == next.Status {
				next.LastTransitionTime = c.LastTransitionTime
			}
			*c = next
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, next)
}

// permit is why a pod may be evicted.
type permit int

const (
	free      permit = iota // no budget guards it
	idle                    // budgets do not guard it as it is
	unhealthy               // its budget does not mind, as long as it is not ready
	counted                 // its budget had room, of which it took one
)

// charge finds the budget of the request's pod and takes from it what the eviction costs.
func (s *Server) charge(ctx context.Context, r *request, o *apiv1.DeleteOptions) (permit, error) {
	if err := s.Sync(ctx); err != nil {
		return free, err
	}
	it, _, err := s.recent(ctx, r)
	if err != nil {
		return free, err
	}
	obj, err := it.object(r.Kind)
	if err != nil {
		return free, err
	}
	pod := obj.(*corev1.Pod)
	// A budget is not charged for what is refused anyway.
	if err := r.preconditions(pod, o); err != nil || unguarded(pod) {
		return idle, err
	}
	budgets, err := s.budgetsOf(ctx, pod)
	switch {
	case err != nil || len(budgets) == 0:
		return free, err
	case len(budgets) > 1:
		return free, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
		}}
	case !conditions.PodReady(pod) && sparesUnhealthy(budgets[0]):
		return unhealthy, nil
	}
	return counted, s.takeDisruption(ctx, budgets[0], r, o.GetDryRun())
}

// unguarded are pods that serve nobody: not yet, or no longer.
func unguarded(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodPending:
		return true
	}
	return pod.DeletionTimestamp != nil
}

// sparesUnhealthy reports whether a pod that is not ready may go without costing anything.
func sparesUnhealthy(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

func (s *Server) budgetsOf(ctx context.Context, pod *corev1.Pod) ([]*policyv1.PodDisruptionBudget, error) {
	if len(pod.Labels) == 0 {
		return nil, nil
	}
	all, err := s.ReadAll(ctx, gvkBudget, pod.Namespace)
	if err != nil {
		return nil, err
	}
	var out []*policyv1.PodDisruptionBudget
	for _, obj := range all {
		b := obj.(*policyv1.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(pod.Labels)) {
			out = append(out, b)
		}
	}
	return out, nil
}

// takeDisruption writes into the budget's status that the pod goes: whoever asks next finds one less.
func (s *Server) takeDisruption(ctx context.Context, b *policyv1.PodDisruptionBudget, r *request, dryRun bool) error {
	own, err := s.own(gvkBudget, b)
	if err != nil {
		return err
	}
	_, err = s.modify(ctx, own, dryRun, func(old registry.Object) (Outcome, error) {
		now := old.(*policyv1.PodDisruptionBudget)
		if err := refuseDisruption(now); err != nil {
			return Outcome{}, err
		}
		spend(now, r)
		return Outcome{Next: now}, nil
	})
	if apierrors.IsNotFound(err) {
		// The budget is gone, and with it what it forbade.
		return nil
	}
	return err
}

func spend(b *policyv1.PodDisruptionBudget, r *request) {
	st := &b.Status
	st.DisruptionsAllowed--
	if st.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
			ObservedGeneration: st.ObservedGeneration, LastTransitionTime: metav1.NewTime(r.now).Rfc3339Copy(),
		})
	}
	if st.DisruptedPods == nil {
		st.DisruptedPods = map[string]metav1.Time{}
	}
	st.DisruptedPods[r.name] = metav1.NewTime(r.now).Rfc3339Copy()
}

// refuseDisruption says why a budget has no room; nil when it has.
func refuseDisruption(b *policyv1.PodDisruptionBudget) error {
	st := &b.Status
	forbidden := func(text string) error {
		return apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, errors.New(text))
	}
	switch {
	case st.ObservedGeneration < b.Generation:
		return tooMany(comeAgain, fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name))
	case st.DisruptionsAllowed < 0:
		return forbidden("pdb disruptions allowed is negative")
	case len(st.DisruptedPods) > maxDisrupted:
		return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller")
	case st.DisruptionsAllowed > 0:
		return nil
	}
	why := fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, st.DesiredHealthy, st.CurrentHealthy)
	c := meta.FindStatusCondition(st.Conditions, policyv1.DisruptionAllowedCondition)
	if c != nil && c.Status == metav1.ConditionFalse && c.Reason == policyv1.SyncFailedReason {
		why = fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	}
	return tooMany(0, why)
}

func tooMany(after int, why string) error {
	err := apierrors.NewTooManyRequests(textGuarded, after)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
	return err
}
