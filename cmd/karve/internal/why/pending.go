package why

import (
	"fmt"
	"regexp"
	"strings"

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
	cond := conditions.Pod(p, corev1.PodScheduled)
	for _, claim := range claimsOf(p) {
		found := c.claim(claim)
		if len(found) > 0 && cond != nil {
			found[0].Because = append(found[0].Because, lines(cond.Message)...)
			found[0].Schedule = &Subject{"pod", p.Namespace, p.Name}
		}
		if len(found) > 0 {
			return found
		}
	}
	if cond == nil || cond.Message == "" {
		f := Finding{Severity: Stuck, Cause: "no node has been chosen for it yet", Schedule: &Subject{"pod", p.Namespace, p.Name}}
		if s := p.Spec.SchedulerName; s != corev1.DefaultSchedulerName && s != "" {
			f.Cause, f.Schedule = fmt.Sprintf("it waits for a scheduler called %q, and there is %s", s, corev1.DefaultSchedulerName), nil
			f.Do = []string{"leave schedulerName out of the pod's spec, or start that scheduler"}
		}
		return []Finding{f}
	}
	message, _, _ := strings.Cut(cond.Message, " preemption: ")
	f := Finding{Severity: Stuck, Cause: "no node takes it: " + message, Schedule: &Subject{"pod", p.Namespace, p.Name}}
	for _, r := range refusals {
		if strings.Contains(message, r.part) {
			f.Do = append(f.Do, r.do(c, message))
		}
	}
	return []Finding{f}
}

var taint = regexp.MustCompile(`untolerated taint \{?([^:},.]*)`)

// refusals are what nodes say to pods, and what can be done about it.
var refusals = []struct {
	part string
	do   func(c *podCase, message string) string
}{
	{"Insufficient", func(c *podCase, _ string) string { return c.edit("lower resources.requests of its containers") }},
	{"untolerated taint", func(c *podCase, message string) string {
		return c.edit("take the taint away: kubectl taint node " + c.aNode() + " " + taint.FindStringSubmatch(message)[1] + "-, or add a toleration")
	}},
	{"node affinity/selector", func(c *podCase, _ string) string {
		if s := c.pod.Spec.NodeSelector; len(s) > 0 {
			return fmt.Sprintf("kubectl label node %s %s", c.aNode(), strings.ReplaceAll(labels.FormatLabels(s), ",", " "))
		}
		return "kubectl get nodes --show-labels   # none is as the pod's nodeAffinity asks"
	}},
	{"unschedulable", func(c *podCase, _ string) string { return "kubectl uncordon " + c.aNode() }},
	{"Too many pods", func(*podCase, string) string { return "delete pods, or add a node" }},
	{"free ports", func(c *podCase, _ string) string {
		return c.edit("another pod has the hostPort: leave hostPort out of the container's ports, or choose another")
	}},
}

// aNode names the node, where there is but one.
func (c *podCase) aNode() string {
	if len(c.w.Nodes) == 1 {
		return c.w.Nodes[0].Name
	}
	return "NODE"
}
