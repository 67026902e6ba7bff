// Package preemption finds room for a pod that fits nowhere by choosing pods of lower priority to go. It decides only: the
// snapshot is changed while it tries and is as before afterwards.
package preemption

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

// Candidate is a node with the pods that would have to go for the pod to fit there.
type Candidate struct {
	Node    *snapshot.Node
	Victims []*snapshot.Pod // the most important first
	// Violations counts the victims whose disruption budgets do not allow it.
	Violations int
}

// maxCandidates bounds the nodes that are tried in detail.
const maxCandidates = 100

// What is said of nodes where nothing is to be gained, in Kubernetes' words.
const (
	notHelpful = "Preemption is not helpful for scheduling"
	noVictims  = "No preemption victims found for incoming pod"
)

// Problem is a decision that has failed, and what it takes to look for victims.
type Problem struct {
	Plugins  []framework.Plugin
	Snapshot *snapshot.Snapshot
	Pod      *snapshot.Pod
	Decision framework.Decision
	Budgets  []*policyv1.PodDisruptionBudget
}

// Solve returns the node where the least is lost; nil, and why, when no victims make room anywhere.
func Solve(p Problem) (*Candidate, string) {
	if policy := p.Pod.Object.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		return nil, "preemption: not eligible due to preemptionPolicy=Never."
	}
	all := len(p.Snapshot.Nodes())
	if all == 0 {
		return nil, ""
	}
	if p.Decision.Refused != nil {
		return nil, summary(all, map[string]int{notHelpful: all})
	}
	helps := map[string]bool{}
	for i := range p.Plugins {
		helps[p.Plugins[i].Name] = p.Plugins[i].Wakes&framework.PodGone != 0
	}
	hopeless := p.Snapshot.LowestPriority() >= p.Pod.Priority()
	var best *Candidate
	counts, tried := map[string]int{}, 0
	for _, v := range p.Decision.Verdicts {
		switch {
		case !helps[v.Plugin] || slices.ContainsFunc(v.Reasons, func(r *framework.Reason) bool { return r.Lasting }):
			counts[notHelpful]++
			continue
		case hopeless:
			counts[noVictims]++
			continue
		case tried == maxCandidates:
			continue
		}
		c, why := p.try(v.Node)
		if c == nil {
			counts[why]++
			continue
		}
		tried++
		if best == nil || better(c, best) < 0 {
			best = c
		}
	}
	if best != nil {
		return best, ""
	}
	return nil, summary(all, counts)
}

func summary(all int, counts map[string]int) string {
	parts := make([]string, 0, len(counts))
	for why, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, why))
	}
	slices.Sort(parts)
	return fmt.Sprintf("preemption: 0/%d nodes are available: %s.", all, strings.Join(parts, ", "))
}

// try finds the fewest and least important pods of a node that have to go.
func (p *Problem) try(n *snapshot.Node) (*Candidate, string) {
	var lower []*snapshot.Pod
	for _, pod := range n.Pods {
		if pod.Priority() < p.Pod.Priority() {
			lower = append(lower, pod)
		}
	}
	if len(lower) == 0 {
		return nil, noVictims
	}
	defer func() {
		for _, pod := range lower {
			p.Snapshot.Place(pod, n.Name)
		}
	}()
	for _, pod := range lower {
		p.Snapshot.Remove(pod.Object.UID)
	}
	if r := framework.Fits(p.Plugins, p.Snapshot, p.Pod, n); r != nil {
		return nil, r.Message
	}
	slices.SortFunc(lower, moreImportant)
	c := &Candidate{Node: n}
	guarded, free := split(lower, p.Budgets)
	// Whoever fits beside the pod may stay, those first whose budgets allow no disruption.
	for _, pod := range guarded {
		if !p.stays(pod, n) {
			c.Victims = append(c.Victims, pod)
			c.Violations++
		}
	}
	for _, pod := range free {
		if !p.stays(pod, n) {
			c.Victims = append(c.Victims, pod)
		}
	}
	if len(c.Victims) == 0 {
		return nil, noVictims // what it lacked has come meanwhile: a volume, say
	}
	slices.SortFunc(c.Victims, moreImportant)
	return c, ""
}

// stays puts a pod back if the pod that wants to come fits beside it.
func (p *Problem) stays(pod *snapshot.Pod, n *snapshot.Node) bool {
	p.Snapshot.Place(pod, n.Name)
	if framework.Fits(p.Plugins, p.Snapshot, p.Pod, n) == nil {
		return true
	}
	p.Snapshot.Remove(pod.Object.UID)
	return false
}

// moreImportant orders pods: higher priority first, then those that have run for longer.
func moreImportant(a, b *snapshot.Pod) int {
	return cmp.Or(cmp.Compare(b.Priority(), a.Priority()), started(a).Compare(started(b)), strings.Compare(string(a.Object.UID), string(b.Object.UID)))
}

// better orders candidates: where less is lost comes first.
func better(a, b *Candidate) int {
	return cmp.Or(
		cmp.Compare(a.Violations, b.Violations),
		cmp.Compare(a.Victims[0].Priority(), b.Victims[0].Priority()),
		cmp.Compare(a.weight(), b.weight()),
		cmp.Compare(len(a.Victims), len(b.Victims)),
		a.newest().Compare(b.newest())*-1,
	)
}
