package preemption

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"karve.dev/karve/services/scheduler/snapshot"
)

// split parts the pods whose disruption budgets do not allow them to go from the others; both stay in order. Each pod uses
// its budgets up for those after it.
func split(pods []*snapshot.Pod, budgets []*policyv1.PodDisruptionBudget) (guarded, free []*snapshot.Pod) {
	allowed := make([]int32, len(budgets))
	for i, b := range budgets {
		allowed[i] = b.Status.DisruptionsAllowed
	}
	for _, pod := range pods {
		violates := false
		for i, b := range budgets {
			if !covers(b, pod.Object) {
				continue
			}
			// Its disruption has been counted already.
			if _, gone := b.Status.DisruptedPods[pod.Object.Name]; gone {
				continue
			}
			allowed[i]--
			violates = violates || allowed[i] < 0
		}
		if violates {
			guarded = append(guarded, pod)
		} else {
			free = append(free, pod)
		}
	}
	return guarded, free
}

func covers(b *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	if b.Namespace != pod.Namespace || len(pod.Labels) == 0 {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels))
}

// weight adds the victims' priorities up. Each counts above zero, so that fewer victims weigh less whatever they are.
func (c *Candidate) weight() (sum int64) {
	for _, v := range c.Victims {
		sum += int64(v.Priority()) + math.MaxInt32 + 1
	}
	return sum
}

// newest is when the first started of the most important victims did.
func (c *Candidate) newest() time.Time {
	top := c.Victims[0].Priority()
	first := started(c.Victims[0])
	for _, v := range c.Victims {
		if t := started(v); v.Priority() == top && t.Before(first) {
			first = t
		}
	}
	return first
}

func started(p *snapshot.Pod) time.Time {
	if t := p.Object.Status.StartTime; t != nil {
		return t.Time
	}
	return p.Object.CreationTimestamp.Time
}
