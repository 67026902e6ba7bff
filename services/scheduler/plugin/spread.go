package plugin

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

var (
	reasonSpread      = &framework.Reason{Message: "node(s) didn't match pod topology spread constraints"}
	reasonSpreadLabel = &framework.Reason{Message: "node(s) didn't match pod topology spread constraints (missing required label)", Counterfactual: "fits once the node has the constraint's topology label", Lasting: true}
)

// constraint is one topology spread constraint with its counts over the nodes that the pod could use.
type constraint struct {
	key     string
	maxSkew int
	self    int // 1 when the pod counts itself
	counts  map[string]int
	lowest  int
}

// compileSpread counts the constraints of one kind (KEP-895, with the policies of KEP-3094).
func compileSpread(s *snapshot.Snapshot, pod *snapshot.Pod, when corev1.UnsatisfiableConstraintAction) []constraint {
	var out []constraint
	for i := range pod.Object.Spec.TopologySpreadConstraints {
		c := &pod.Object.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable == when {
			out = append(out, compileConstraint(s, pod, c))
		}
	}
	return out
}

func compileConstraint(s *snapshot.Snapshot, pod *snapshot.Pod, c *corev1.TopologySpreadConstraint) constraint {
	term := snapshot.NewTerm(pod.Object.Namespace, spreadSelector(pod.Object, c), c.TopologyKey, true)
	counter := s.Count(&term)
	out := constraint{key: c.TopologyKey, maxSkew: int(c.MaxSkew), counts: map[string]int{}}
	if term.Matches(s, pod.Object) {
		out.self = 1
	}
	usable := usableNodes(pod.Object, c)
	for _, n := range s.Nodes() {
		value, ok := n.Object.Labels[c.TopologyKey]
		if ok && usable(n) {
			out.counts[value] += counter.On(n)
		}
	}
	first := true
	for _, n := range out.counts {
		if first || n < out.lowest {
			out.lowest, first = n, false
		}
	}
	if c.MinDomains != nil && len(out.counts) < int(*c.MinDomains) {
		out.lowest = 0
	}
	return out
}

func spreadSelector(pod *corev1.Pod, c *corev1.TopologySpreadConstraint) *metav1.LabelSelector {
	if len(c.MatchLabelKeys) == 0 {
		return c.LabelSelector
	}
	out := c.LabelSelector.DeepCopy()
	if out == nil {
		out = &metav1.LabelSelector{}
	}
	for _, k := range c.MatchLabelKeys {
		if v, ok := pod.Labels[k]; ok {
			out.MatchExpressions = append(out.MatchExpressions, metav1.LabelSelectorRequirement{Key: k, Operator: metav1.LabelSelectorOpIn, Values: []string{v}})
		}
	}
	return out
}

// usableNodes tells which nodes' pods and domains count: by default those that match the pod's node affinity,
// whatever their taints.
func usableNodes(pod *corev1.Pod, c *corev1.TopologySpreadConstraint) func(*snapshot.Node) bool {
	var affinity func(*snapshot.Node) bool
	if c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor {
		affinity = requiredNodeAffinity(pod)
	}
	honorTaints := c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
	return func(n *snapshot.Node) bool {
		if affinity != nil && !affinity(n) {
			return false
		}
		if !honorTaints {
			return true
		}
		for i := range n.Object.Spec.Taints {
			t := &n.Object.Spec.Taints[i]
			if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(pod.Spec.Tolerations, t) {
				return false
			}
		}
		return true
	}
}

// filterSpread refuses nodes where the pod would make the skew too large.
func filterSpread(s *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	constraints := compileSpread(s, pod, corev1.DoNotSchedule)
	if len(constraints) == 0 {
		return nil
	}
	return func(n *snapshot.Node) *framework.Reason {
		for i := range constraints {
			c := &constraints[i]
			value, ok := n.Object.Labels[c.key]
			if !ok {
				return reasonSpreadLabel
			}
			if c.counts[value]+c.self-c.lowest > c.maxSkew {
				return reasonSpread
			}
		}
		return nil
	}
}

// scoreSpread counts what is already in a node's domains: less is better.
func scoreSpread(s *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeScore {
	constraints := compileSpread(s, pod, corev1.ScheduleAnyway)
	if len(constraints) == 0 {
		return nil
	}
	return func(n *snapshot.Node) int64 {
		var sum int64
		for i := range constraints {
			c := &constraints[i]
			if value, ok := n.Object.Labels[c.key]; ok {
				sum += int64(c.counts[value]) * 10
			}
		}
		return sum
	}
}
