package why

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"karve.dev/karve/internal/conditions"
)

// unscheduled is about pods without a node.
func unscheduled(c *podCase) []Finding {
	p := c.pod
	if p.Spec.NodeName != "" {
		return nil
	}
	if len(p.Spec.SchedulingGates) > 0 {
		var gates []string
		for _, g := range p.Spec.SchedulingGates {
			gates = append(gates, g.Name)
		}
		return []Finding{{Severity: Stuck, Cause: "it is held by scheduling gates: " + some(gates), Do: []string{"what has set them is to remove them from the pod's spec.schedulingGates"}}}
	}
	cond, message := conditions.Pod(p, corev1.PodScheduled), ""
	if cond != nil {
		message, _, _ = strings.Cut(cond.Message, " preemption: ")
	}
	for _, claim := range claimsOf(p) {
		found := c.claim(claim)
		if len(found) > 0 && cond != nil {
			found[0].Because = append(found[0].Because, lines(message)...)
			found[0].Schedule = &Subject{"pod", p.Namespace, p.Name}
		}
		if len(found) > 0 {
			return found
		}
	}
	if message == "" {
		f := Finding{Severity: Stuck, Cause: "no node has been chosen for it yet", Schedule: &Subject{"pod", p.Namespace, p.Name}}
		if s := p.Spec.SchedulerName; s != corev1.DefaultSchedulerName && s != "" {
			f.Cause, f.Schedule = fmt.Sprintf("it waits for a scheduler called %q, and there is %s", s, corev1.DefaultSchedulerName), nil
			f.Do = []string{"leave schedulerName out of the pod's spec, or start that scheduler"}
		}
		return []Finding{f}
	}
	if n := p.Status.NominatedNodeName; n != "" {
		return []Finding{{Severity: Stuck, Cause: "room is being made for it on node " + n + ": less important pods are ending there (pre-emption)", Because: lines(message)}}
	}
	f := Finding{Severity: Stuck, Cause: "no node takes it: " + message, Schedule: &Subject{"pod", p.Namespace, p.Name}}
	for _, r := range refusals {
		if strings.Contains(message, r.part) {
			f.Do = append(f.Do, r.do(c))
		}
	}
	return []Finding{f}
}

// refusals are what nodes say to pods, and what can be done about it.
var refusals = []struct {
	part string
	do   func(c *podCase) string
}{
	{"Insufficient", func(c *podCase) string { return c.edit("lower resources.requests of its containers") }},
	{"untolerated taint", func(c *podCase) string {
		return c.edit("take the taint away: kubectl taint node " + c.untolerated() + "-, or add a toleration for it")
	}},
	{"node affinity/selector", func(c *podCase) string {
		if s := c.pod.Spec.NodeSelector; len(s) > 0 {
			return fmt.Sprintf("kubectl label node %s %s", c.aNode(), strings.ReplaceAll(labels.FormatLabels(s), ",", " "))
		}
		return "kubectl get nodes --show-labels   # none is as the pod's nodeAffinity asks"
	}},
	{"unschedulable", func(c *podCase) string { return "kubectl uncordon " + c.aNode() }},
	{"Too many pods", func(*podCase) string { return "delete pods, or add a node" }},
	{"free ports", func(c *podCase) string {
		return c.edit("another pod has the hostPort: leave hostPort out of the container's ports, or choose another")
	}},
}

// untolerated names a node and the first of its taints that keeps the pod away.
func (c *podCase) untolerated() string {
	for i := range c.w.Nodes {
		n := &c.w.Nodes[i]
		for j := range n.Spec.Taints {
			taint := &n.Spec.Taints[j]
			tolerates := func(t corev1.Toleration) bool { return t.ToleratesTaint(logr.Discard(), taint, true) }
			if taint.Effect != corev1.TaintEffectPreferNoSchedule && !slices.ContainsFunc(c.pod.Spec.Tolerations, tolerates) {
				return fmt.Sprintf("%s %s:%s", n.Name, taint.Key, taint.Effect)
			}
		}
	}
	return "NODE KEY"
}

// aNode names the node, where there is but one.
func (c *podCase) aNode() string {
	if len(c.w.Nodes) == 1 {
		return c.w.Nodes[0].Name
	}
	return "NODE"
}
