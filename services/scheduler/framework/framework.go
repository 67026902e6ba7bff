// Package framework decides where a pod goes: filters say which nodes can take it, scores which of those is best.
// A decision is a pure function of the snapshot.
package framework

import (
	"fmt"
	"slices"
	"strings"

	"karve.dev/karve/services/scheduler/snapshot"
)

// Change is a kind of change in the cluster that may make an unschedulable pod fit.
type Change uint8

// The changes that plugins wait for.
const (
	NodeAdded Change = 1 << iota
	NodeAllocatable
	NodeLabels
	NodeTaints
	PodGone
	PodPlaced
	StorageChanged
)

// Reason is why a node cannot take a pod.
type Reason struct {
	// Message is Kubernetes' wording: it is counted over all nodes and shown to the user.
	Message string
	// Counterfactual says what would have to change, where the plugin can tell.
	Counterfactual string
	// Lasting says that it stays so whatever pods leave the node.
	Lasting bool
	// Also are further reasons that the same filter has.
	Also []*Reason
}

// NodeFilter says why a node cannot take the pod that it was made for; nil when it can.
type NodeFilter func(*snapshot.Node) *Reason

// NodeScore says how well a node suits the pod that it was made for.
type NodeScore func(*snapshot.Node) int64

// Plugin is one aspect of scheduling. Its functions are called once per pod and return what is called per node; they
// return nil when the aspect does not concern the pod.
type Plugin struct {
	Name string
	// Refuse says why no node at all can take the pod, as things are; nil when one might.
	Refuse func(*snapshot.Snapshot, *snapshot.Pod) *Reason
	Filter func(*snapshot.Snapshot, *snapshot.Pod) NodeFilter
	Score  func(*snapshot.Snapshot, *snapshot.Pod) NodeScore
	// Weight is what the plugin's normalized score counts.
	Weight int64
	// Normalize turns raw scores into 0…MaxScore; nil when they are already.
	Normalize func([]int64)
	// Wakes are the changes after which a pod that this plugin refused is worth another try.
	Wakes Change
}

// MaxScore is the best score of one plugin.
const MaxScore = 100

// Verdict is what the filters said of one node.
type Verdict struct {
	Node    *snapshot.Node
	Plugin  string
	Reasons []*Reason
}

// Decision is the outcome for one pod.
type Decision struct {
	// Node is where the pod goes; nil: nowhere, and Verdicts tells why for every node.
	Node     *snapshot.Node
	Verdicts []Verdict
	// Refused is why it is no question of nodes; Verdicts is empty then.
	Refused *Verdict
	// Next is where the search for nodes should begin the next time, so that load spreads.
	Next int
}

// enough returns how many fitting nodes are worth scoring: all of a small cluster, a share of a large one.
func enough(nodes int) int { return max(100, nodes/20) }

type boundFilter struct {
	plugin *Plugin
	check  NodeFilter
}

func filtersFor(plugins []Plugin, s *snapshot.Snapshot, pod *snapshot.Pod) []boundFilter {
	out := make([]boundFilter, 0, len(plugins))
	for i := range plugins {
		if plugins[i].Filter == nil {
			continue
		}
		if check := plugins[i].Filter(s, pod); check != nil {
			out = append(out, boundFilter{&plugins[i], check})
		}
	}
	return out
}

// Decide finds a node for a pod, looking at nodes from start on.
func Decide(plugins []Plugin, s *snapshot.Snapshot, pod *snapshot.Pod, start int) Decision {
	nodes := s.Nodes()
	if refused := Refuse(plugins, s, pod); refused != nil {
		return Decision{Refused: refused, Next: start}
	}
	filters := filtersFor(plugins, s, pod)
	want := enough(len(nodes))
	var fits []*snapshot.Node
	var verdicts []Verdict
	i := 0
	for ; i < len(nodes) && len(fits) < want; i++ {
		n := nodes[(start+i)%len(nodes)]
		if v, ok := refuse(filters, n); ok {
			verdicts = append(verdicts, v)
			continue
		}
		fits = append(fits, n)
	}
	d := Decision{Verdicts: verdicts}
	if len(nodes) > 0 {
		d.Next = (start + i) % len(nodes)
	}
	switch len(fits) {
	case 0:
	case 1:
		d.Node = fits[0]
	default:
		d.Node = best(fits, Scores(plugins, s, pod, fits))
	}
	return d
}

// Refuse asks every plugin whether the pod can have a node at all.
func Refuse(plugins []Plugin, s *snapshot.Snapshot, pod *snapshot.Pod) *Verdict {
	for i := range plugins {
		if plugins[i].Refuse == nil {
			continue
		}
		if r := plugins[i].Refuse(s, pod); r != nil {
			return &Verdict{Plugin: plugins[i].Name, Reasons: []*Reason{r}}
		}
	}
	return nil
}

func refuse(filters []boundFilter, n *snapshot.Node) (Verdict, bool) {
	for _, f := range filters {
		if r := f.check(n); r != nil {
			return Verdict{Node: n, Plugin: f.plugin.Name, Reasons: append([]*Reason{r}, r.Also...)}, true
		}
	}
	return Verdict{}, false
}

// Fits says why a node cannot take a pod; nil when it can.
func Fits(plugins []Plugin, s *snapshot.Snapshot, pod *snapshot.Pod, n *snapshot.Node) *Reason {
	if v, refused := refuse(filtersFor(plugins, s, pod), n); refused {
		return v.Reasons[0]
	}
	return nil
}

// Explain asks every filter about every node, so that all reasons are known and not only the first.
func Explain(plugins []Plugin, s *snapshot.Snapshot, pod *snapshot.Pod, visit func(n *snapshot.Node, plugin string, r *Reason)) {
	filters := filtersFor(plugins, s, pod)
	for _, n := range s.Nodes() {
		for _, f := range filters {
			r := f.check(n)
			if r == nil {
				continue
			}
			visit(n, f.plugin.Name, r)
			for _, also := range r.Also {
				visit(n, f.plugin.Name, also)
			}
		}
	}
}

// Scores returns the weighted sum of all plugins' scores for each node.
func Scores(plugins []Plugin, s *snapshot.Snapshot, pod *snapshot.Pod, nodes []*snapshot.Node) []int64 {
	total, raw := make([]int64, len(nodes)), make([]int64, len(nodes))
	for i := range plugins {
		p := &plugins[i]
		if p.Score == nil {
			continue
		}
		score := p.Score(s, pod)
		if score == nil {
			continue
		}
		for j, n := range nodes {
			raw[j] = score(n)
		}
		if p.Normalize != nil {
			p.Normalize(raw)
		}
		for j := range raw {
			total[j] += raw[j] * p.Weight
		}
	}
	return total
}

func best(nodes []*snapshot.Node, scores []int64) *snapshot.Node {
	top := 0
	for i, sc := range scores {
		if sc > scores[top] {
			top = i
		}
	}
	return nodes[top]
}

// Summary words a failed decision about a pod among so many nodes.
func (d *Decision) Summary(nodes int) string {
	if d.Refused != nil && nodes > 0 {
		return fmt.Sprintf("0/%d nodes are available: %s.", nodes, d.Refused.Reasons[0].Message)
	}
	return Summary(nodes, d.Verdicts)
}

// Refusers returns the names of the plugins that refused the pod or a node.
func (d *Decision) Refusers() map[string]bool {
	out := map[string]bool{}
	if d.Refused != nil {
		out[d.Refused.Plugin] = true
	}
	for _, v := range d.Verdicts {
		out[v.Plugin] = true
	}
	return out
}

// Summary words a failed decision as Kubernetes does: "0/3 nodes are available: 1 Insufficient cpu, 2 …".
func Summary(nodes int, verdicts []Verdict) string {
	if nodes == 0 {
		return "no nodes available to schedule pods"
	}
	counts := map[string]int{}
	for _, v := range verdicts {
		for _, r := range v.Reasons {
			counts[r.Message]++
		}
	}
	parts := make([]string, 0, len(counts))
	for message, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, message))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", nodes, strings.Join(parts, ", "))
}
