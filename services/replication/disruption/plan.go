package disruption

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/services/replication/pods"
)

// evictionTime is how long a pod that was evicted is taken for lost before its deletion has begun.
const evictionTime = 2 * time.Minute

// scale is how many pods a workload should have.
type scale struct {
	uid      types.UID
	replicas int32
}

// observed is everything that a budget's status depends on.
type observed struct {
	budget *policyv1.PodDisruptionBudget
	pods   []*corev1.Pod
	// scaleOf returns the workload that a pod with a controller belongs to; false where it has no number of pods.
	scaleOf func(*corev1.Pod) (scale, bool)
	now     time.Time
}

// plan is the status, or why there is none.
type plan struct {
	status policyv1.PodDisruptionBudgetStatus
	// failure is why the expected number of pods is unknown: then no disruption is allowed.
	failure error
	// unmanaged pods have no controller although their number matters.
	unmanaged bool
	// kept were to be deleted after an eviction and have not been.
	kept []*corev1.Pod
	// after is when the next eviction is given up, 0 for none.
	after time.Duration
}

func makePlan(o observed) plan {
	p := plan{status: *o.budget.Status.DeepCopy()}
	p.status.ObservedGeneration = o.budget.Generation
	expected, healthy, unmanaged, err := o.need()
	p.unmanaged = unmanaged
	if err != nil {
		p.failure, p.status.DisruptionsAllowed = err, 0
		p.setCondition(o, metav1.ConditionFalse, policyv1.SyncFailedReason, err.Error())
		return p
	}
	p.disrupted(o)
	s := &p.status
	s.ExpectedPods, s.DesiredHealthy, s.CurrentHealthy = int32(expected), int32(healthy), o.healthy(s.DisruptedPods)
	s.DisruptionsAllowed = max(s.CurrentHealthy-s.DesiredHealthy, 0)
	if expected <= 0 {
		// The first pods may be there already, unknown to this status.
		s.DisruptionsAllowed = 0
	}
	if s.DisruptionsAllowed > 0 {
		p.setCondition(o, metav1.ConditionTrue, policyv1.SufficientPodsReason, "")
	} else {
		p.setCondition(o, metav1.ConditionFalse, policyv1.InsufficientPodsReason, "")
	}
	return p
}

func (p *plan) setCondition(o observed, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&p.status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: status, Reason: reason, Message: message,
		ObservedGeneration: p.status.ObservedGeneration, LastTransitionTime: metav1.NewTime(o.now),
	})
}

// need is how many pods there should be and how many of them healthy.
func (o observed) need() (expected, healthy int, unmanaged bool, err error) {
	switch spec := o.budget.Spec; {
	case spec.MaxUnavailable != nil:
		if expected, unmanaged, err = o.expected(); err != nil {
			return 0, 0, unmanaged, err
		}
		most, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, expected, true)
		return expected, max(expected-most, 0), unmanaged, err
	case spec.MinAvailable != nil && spec.MinAvailable.Type == intstr.Int:
		return len(o.pods), spec.MinAvailable.IntValue(), false, nil
	case spec.MinAvailable != nil:
		if expected, unmanaged, err = o.expected(); err != nil {
			return 0, 0, unmanaged, err
		}
		healthy, err = intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, expected, true)
		return expected, healthy, unmanaged, err
	}
	return 0, 0, false, nil
}

// expected adds up the pods of all workloads that the budget's pods belong to.
func (o observed) expected() (total int, unmanaged bool, err error) {
	known := map[types.UID]bool{}
	seen := map[types.UID]bool{}
	for _, p := range o.pods {
		ref := metav1.GetControllerOfNoCopy(p)
		switch {
		case ref == nil:
			unmanaged = true
			continue
		case seen[ref.UID]:
			continue
		}
		seen[ref.UID] = true
		workload, ok := o.scaleOf(p)
		if !ok {
			return 0, unmanaged, fmt.Errorf("found no controllers for pod %q", p.Name)
		}
		if !known[workload.uid] {
			known[workload.uid] = true
			total += int(workload.replicas)
		}
	}
	return total, unmanaged, nil
}

// disrupted keeps of the evicted pods those whose deletion is still to be seen.
func (p *plan) disrupted(o observed) {
	left := map[string]metav1.Time{}
	for _, pod := range o.pods {
		at, ok := p.status.DisruptedPods[pod.Name]
		if !ok || pod.DeletionTimestamp != nil {
			continue
		}
		wait := at.Add(evictionTime).Sub(o.now)
		if wait <= 0 {
			p.kept = append(p.kept, pod)
			continue
		}
		left[pod.Name] = at
		if p.after == 0 || wait < p.after {
			p.after = wait
		}
	}
	if len(left) == 0 {
		left = nil
	}
	p.status.DisruptedPods = left
}

func (o observed) healthy(disrupted map[string]metav1.Time) (n int32) {
	for _, p := range o.pods {
		if _, evicted := disrupted[p.Name]; evicted || p.DeletionTimestamp != nil {
			continue
		}
		if _, ready := pods.Ready(p); ready {
			n++
		}
	}
	return n
}
