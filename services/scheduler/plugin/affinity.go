package plugin

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

var reasonNodeAffinity = &framework.Reason{Message: "node(s) didn't match Pod's node affinity/selector", Counterfactual: "fits with the labels that the pod's nodeSelector and node affinity ask for"}

// filterNodeAffinity honours nodeSelector and required node affinity.
func filterNodeAffinity(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	matches := requiredNodeAffinity(pod.Object)
	if matches == nil {
		return nil
	}
	return func(n *snapshot.Node) *framework.Reason {
		if !matches(n) {
			return reasonNodeAffinity
		}
		return nil
	}
}

// requiredNodeAffinity compiles what a pod demands of node labels and names; nil for nothing.
func requiredNodeAffinity(pod *corev1.Pod) func(*snapshot.Node) bool {
	var terms []nodeTerm
	required := false
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		required = true
		for _, t := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			terms = append(terms, compileTerm(t))
		}
	}
	selector := pod.Spec.NodeSelector
	if !required && len(selector) == 0 {
		return nil
	}
	return func(n *snapshot.Node) bool {
		for k, v := range selector {
			if got, ok := n.Object.Labels[k]; !ok || got != v {
				return false
			}
		}
		if !required {
			return true
		}
		for i := range terms {
			if terms[i].matches(n) {
				return true
			}
		}
		return false
	}
}

// nodeTerm is a NodeSelectorTerm: all of its requirements must hold; an empty one matches nothing.
type nodeTerm struct {
	labels []corev1.NodeSelectorRequirement
	fields []corev1.NodeSelectorRequirement
}

func compileTerm(t corev1.NodeSelectorTerm) nodeTerm {
	return nodeTerm{t.MatchExpressions, t.MatchFields}
}

func (t *nodeTerm) matches(n *snapshot.Node) bool {
	if len(t.labels)+len(t.fields) == 0 {
		return false
	}
	for i := range t.labels {
		value, ok := n.Object.Labels[t.labels[i].Key]
		if !requirementHolds(&t.labels[i], value, ok) {
			return false
		}
	}
	for i := range t.fields {
		if !requirementHolds(&t.fields[i], n.Name, t.fields[i].Key == "metadata.name") {
			return false
		}
	}
	return true
}

func requirementHolds(r *corev1.NodeSelectorRequirement, value string, present bool) bool {
	switch r.Operator {
	case corev1.NodeSelectorOpIn:
		return present && contains(r.Values, value)
	case corev1.NodeSelectorOpNotIn:
		return !present || !contains(r.Values, value)
	case corev1.NodeSelectorOpExists:
		return present
	case corev1.NodeSelectorOpDoesNotExist:
		return !present
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		return present && compares(r, value)
	}
	return false
}

func compares(r *corev1.NodeSelectorRequirement, value string) bool {
	if len(r.Values) != 1 {
		return false
	}
	have, err1 := strconv.ParseInt(value, 10, 64)
	want, err2 := strconv.ParseInt(r.Values[0], 10, 64)
	if err1 != nil || err2 != nil {
		return false
	}
	if r.Operator == corev1.NodeSelectorOpGt {
		return have > want
	}
	return have < want
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// scoreNodeAffinity adds up the weights of the preferred terms that a node matches.
func scoreNodeAffinity(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeScore {
	a := pod.Object.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return nil
	}
	preferred := a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	terms := make([]nodeTerm, len(preferred))
	for i := range preferred {
		terms[i] = compileTerm(preferred[i].Preference)
	}
	return func(n *snapshot.Node) int64 {
		var sum int64
		for i := range terms {
			if terms[i].matches(n) {
				sum += int64(preferred[i].Weight)
			}
		}
		return sum
	}
}

var (
	reasonPodAffinity  = &framework.Reason{Message: "node(s) didn't match pod affinity rules", Lasting: true}
	reasonAntiAffinity = &framework.Reason{Message: "node(s) didn't match pod anti-affinity rules", Counterfactual: "fits where none of the pods that it avoids runs"}
	reasonExistingAnti = &framework.Reason{Message: "node(s) didn't satisfy existing pods anti-affinity rules"}
)

// filterPodAffinity honours required affinity and anti-affinity to other pods, and theirs to this one.
func filterPodAffinity(s *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	existing := s.RefusedBy(pod.Object)
	if len(pod.Affinity)+len(pod.AntiAffinity)+len(existing) == 0 {
		return nil
	}
	affinity, anti := counters(s, pod.Affinity), counters(s, pod.AntiAffinity)
	first := firstOfItsKind(s, pod, affinity)
	return func(n *snapshot.Node) *framework.Reason {
		for _, c := range affinity {
			value, ok := n.Object.Labels[c.Term.TopologyKey]
			if !ok || c.Value(value) == 0 && !first {
				return reasonPodAffinity
			}
		}
		for _, c := range anti {
			if value, ok := n.Object.Labels[c.Term.TopologyKey]; ok && c.Value(value) > 0 {
				return reasonAntiAffinity
			}
		}
		for _, c := range existing {
			if value, ok := n.Object.Labels[c.Term.TopologyKey]; ok && c.Value(value) > 0 {
				return reasonExistingAnti
			}
		}
		return nil
	}
}

func counters(s *snapshot.Snapshot, terms []snapshot.Term) []*snapshot.Counter {
	var out []*snapshot.Counter
	for i := range terms {
		out = append(out, s.Count(&terms[i]))
	}
	return out
}

// firstOfItsKind lets the first pod of a group that wants to be near its own kind start anywhere.
func firstOfItsKind(s *snapshot.Snapshot, pod *snapshot.Pod, affinity []*snapshot.Counter) bool {
	for _, c := range affinity {
		if c.Total() > 0 || !c.Term.Matches(s, pod.Object) {
			return false
		}
	}
	return len(affinity) > 0
}

// scorePodAffinity adds the weights of preferred affinity and subtracts those of preferred anti-affinity.
func scorePodAffinity(s *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeScore {
	if len(pod.PreferAffinity)+len(pod.PreferAntiAff) == 0 {
		return nil
	}
	type weighted struct {
		counter *snapshot.Counter
		weight  int64
	}
	var all []weighted
	add := func(terms []snapshot.WeightedTerm, sign int64) {
		for i := range terms {
			all = append(all, weighted{s.Count(&terms[i].Term), sign * int64(terms[i].Weight)})
		}
	}
	add(pod.PreferAffinity, 1)
	add(pod.PreferAntiAff, -1)
	return func(n *snapshot.Node) int64 {
		var sum int64
		for _, w := range all {
			if value, ok := n.Object.Labels[w.counter.Term.TopologyKey]; ok {
				sum += w.weight * int64(w.counter.Value(value))
			}
		}
		return sum
	}
}
