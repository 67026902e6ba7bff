package snapshot

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Term chooses pods (by namespace and labels) and groups nodes (by the value of a label).
type Term struct {
	Selector    labels.Selector
	TopologyKey string
	// Namespaces are those chosen by name; All chooses every one, NamespaceSelector more by their labels.
	Namespaces        []string
	All               bool
	NamespaceSelector labels.Selector
	// SkipTerminating leaves out pods that are being deleted.
	SkipTerminating bool
	// ID is equal for equal terms.
	ID string
}

// WeightedTerm is a preference.
type WeightedTerm struct {
	Term
	Weight int32
}

// Matches tells whether the term chooses a pod.
func (t *Term) Matches(s *Snapshot, pod *corev1.Pod) bool {
	if t.SkipTerminating && pod.DeletionTimestamp != nil {
		return false
	}
	return t.inNamespaces(s, pod.Namespace) && t.Selector.Matches(labels.Set(pod.Labels))
}

func (t *Term) inNamespaces(s *Snapshot, namespace string) bool {
	if t.All || slices.Contains(t.Namespaces, namespace) {
		return true
	}
	return t.NamespaceSelector != nil && s.NamespaceLabels != nil && t.NamespaceSelector.Matches(s.NamespaceLabels(namespace))
}

// NewTerm compiles a selector of a pod's own namespace, as topology spread constraints have it.
func NewTerm(namespace string, selector *metav1.LabelSelector, topologyKey string, skipTerminating bool) Term {
	t := Term{TopologyKey: topologyKey, Namespaces: []string{namespace}, SkipTerminating: skipTerminating}
	t.Selector = selectorOf(selector)
	t.ID = t.id()
	return t
}

func selectorOf(s *metav1.LabelSelector) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil { // validation let nothing through that does not parse
		return labels.Nothing()
	}
	return sel
}

func (t *Term) id() string {
	var b strings.Builder
	b.WriteString(t.TopologyKey)
	b.WriteByte('|')
	b.WriteString(t.Selector.String())
	b.WriteByte('|')
	b.WriteString(strings.Join(t.Namespaces, ","))
	if t.All {
		b.WriteByte('*')
	}
	if t.NamespaceSelector != nil {
		b.WriteByte('|')
		b.WriteString(t.NamespaceSelector.String())
	}
	if t.SkipTerminating {
		b.WriteByte('-')
	}
	return b.String()
}

func affinityTerm(pod *corev1.Pod, in *corev1.PodAffinityTerm) Term {
	t := Term{TopologyKey: in.TopologyKey, Namespaces: slices.Sorted(slices.Values(in.Namespaces))}
	switch {
	case in.NamespaceSelector != nil && len(in.NamespaceSelector.MatchLabels)+len(in.NamespaceSelector.MatchExpressions) == 0:
		t.All = true
	case in.NamespaceSelector != nil:
		t.NamespaceSelector = selectorOf(in.NamespaceSelector)
	case len(in.Namespaces) == 0:
		t.Namespaces = []string{pod.Namespace}
	}
	selector := in.LabelSelector
	if len(in.MatchLabelKeys)+len(in.MismatchLabelKeys) > 0 {
		selector = withLabelKeys(selector, pod.Labels, in.MatchLabelKeys, in.MismatchLabelKeys)
	}
	t.Selector = selectorOf(selector)
	t.ID = t.id()
	return t
}

// withLabelKeys adds the pod's own values of keys to a selector (KEP-3633, KEP-3243).
func withLabelKeys(in *metav1.LabelSelector, own map[string]string, match, mismatch []string) *metav1.LabelSelector {
	if in == nil {
		return nil
	}
	out := in.DeepCopy()
	add := func(keys []string, op metav1.LabelSelectorOperator) {
		for _, k := range keys {
			if v, ok := own[k]; ok {
				out.MatchExpressions = append(out.MatchExpressions, metav1.LabelSelectorRequirement{Key: k, Operator: op, Values: []string{v}})
			}
		}
	}
	add(match, metav1.LabelSelectorOpIn)
	add(mismatch, metav1.LabelSelectorOpNotIn)
	return out
}

func compileAffinity(p *Pod) {
	a := p.Object.Spec.Affinity
	if a == nil {
		return
	}
	if pa := a.PodAffinity; pa != nil {
		p.Affinity, p.PreferAffinity = compile(p.Object, pa.RequiredDuringSchedulingIgnoredDuringExecution, pa.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if pa := a.PodAntiAffinity; pa != nil {
		p.AntiAffinity, p.PreferAntiAff = compile(p.Object, pa.RequiredDuringSchedulingIgnoredDuringExecution, pa.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func compile(pod *corev1.Pod, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) (terms []Term, weighted []WeightedTerm) {
	for i := range required {
		terms = append(terms, affinityTerm(pod, &required[i]))
	}
	for i := range preferred {
		weighted = append(weighted, WeightedTerm{affinityTerm(pod, &preferred[i].PodAffinityTerm), preferred[i].Weight})
	}
	return terms, weighted
}

// Counter counts the placed pods that a term chooses, by node and by topology value.
type Counter struct {
	Term    Term
	byValue map[string]int
	byNode  map[*Node]int
	used    int64
}

// maxCounters bounds how many terms are counted at a time.
const maxCounters = 512

// Value returns the count for a topology value.
func (c *Counter) Value(value string) int { return c.byValue[value] }

// On returns the count on one node.
func (c *Counter) On(n *Node) int { return c.byNode[n] }

// Total returns the count over all nodes that have the topology label.
func (c *Counter) Total() int {
	total := 0
	for _, n := range c.byValue {
		total += n
	}
	return total
}

func (c *Counter) add(n *Node, delta int) {
	if n.Object == nil {
		return
	}
	value, ok := n.Object.Labels[c.Term.TopologyKey]
	if !ok {
		return
	}
	if c.byValue[value] += delta; c.byValue[value] == 0 {
		delete(c.byValue, value)
	}
	if c.byNode[n] += delta; c.byNode[n] == 0 {
		delete(c.byNode, n)
	}
}

// Count returns the counter of a term; the first call for a term looks at every pod, later ones cost nothing.
func (s *Snapshot) Count(t *Term) *Counter {
	s.clock++
	if c := s.counters[t.ID]; c != nil {
		c.used = s.clock
		return c
	}
	if len(s.counters) >= maxCounters {
		s.dropOldestCounter()
	}
	c := &Counter{Term: *t, byValue: map[string]int{}, byNode: map[*Node]int{}, used: s.clock}
	for _, p := range s.pods {
		if t.Matches(s, p.Object) {
			c.add(p.node, 1)
		}
	}
	s.counters[t.ID] = c
	return c
}

func (s *Snapshot) dropOldestCounter() {
	oldest := ""
	for id, c := range s.counters {
		if oldest == "" || c.used < s.counters[oldest].used {
			oldest = id
		}
	}
	delete(s.counters, oldest)
}

// RefusedBy returns the required anti-affinity terms of placed pods that choose pod, each with the count of the pods
// that carry it: where one is above zero, pod may not go.
func (s *Snapshot) RefusedBy(pod *corev1.Pod) []*Counter {
	var out []*Counter
	for _, c := range s.anti {
		if c.Term.Matches(s, pod) {
			out = append(out, c)
		}
	}
	return out
}

func (s *Snapshot) count(p *Pod, delta int) {
	for _, c := range s.counters {
		if c.Term.Matches(s, p.Object) {
			c.add(p.node, delta)
		}
	}
	s.countOwner(p, delta)
}

// countOwner counts a pod under each anti-affinity term that it carries.
func (s *Snapshot) countOwner(p *Pod, delta int) {
	for i := range p.AntiAffinity {
		t := &p.AntiAffinity[i]
		c := s.anti[t.ID]
		if c == nil {
			c = &Counter{Term: *t, byValue: map[string]int{}, byNode: map[*Node]int{}}
			s.anti[t.ID] = c
		}
		c.add(p.node, delta)
		if len(c.byNode) == 0 {
			delete(s.anti, t.ID)
		}
	}
}

// ForgetCounts drops all counts, as when nodes or labels of nodes and namespaces change; they are made again on demand.
func (s *Snapshot) ForgetCounts() {
	clear(s.counters)
	clear(s.anti)
	for _, p := range s.pods {
		s.countOwner(p, 1)
	}
}
