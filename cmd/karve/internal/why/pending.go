package why

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

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
	f := Finding{Severity: Stuck, Cause: "no node takes it: " + cond.Message, Schedule: &Subject{"pod", p.Namespace, p.Name}}
	for _, r := range refusals {
		if strings.Contains(cond.Message, r.part) {
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
	{"untolerated taint", func(*podCase) string {
		return `kubectl get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints   # tolerate them, or: kubectl taint node NAME KEY-`
	}},
	{"node affinity/selector", func(*podCase) string {
		return "kubectl get nodes --show-labels   # label a node as the pod's nodeSelector and affinity say: kubectl label node NAME KEY=VALUE"
	}},
	{"unschedulable", func(*podCase) string { return "kubectl uncordon NODE" }},
	{"Too many pods", func(*podCase) string { return "delete pods, or add a node" }},
	{"free ports", func(c *podCase) string {
		return c.edit("another pod has the hostPort: leave hostPort out of the container's ports, or choose another")
	}},
}
