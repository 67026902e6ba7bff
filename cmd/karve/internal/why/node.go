package why

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/conditions"
)

// pressures are the conditions of nodes that are bad when they are true, and what to do about them.
var pressures = []struct {
	of corev1.NodeConditionType
	do string
}{
	{corev1.NodeMemoryPressure, "end what uses the memory: kubectl top pods -A --sort-by=memory"},
	{corev1.NodeDiskPressure, "make room on the disk: docker system df"},
	{corev1.NodePIDPressure, "end what has so many processes: ps -eo ppid,comm | sort | uniq -c | sort -n | tail"},
	{corev1.NodeNetworkUnavailable, "look at the node's network"},
}

func aboutNode(w *World, s Subject) ([]Finding, bool) {
	n := w.node(s.Name)
	if n == nil {
		return nil, false
	}
	var out []Finding
	switch ready := conditions.Node(n, corev1.NodeReady); {
	case ready == nil:
		out = append(out, Finding{Severity: Down, Cause: "its agent has not reported yet", Do: []string{"karve status"}})
	case ready.Status == corev1.ConditionUnknown:
		out = append(out, Finding{
			Severity: Down, Cause: "it is not ready: its agent has gone silent", Because: []string{ready.Message + " For " + w.since(ready.LastTransitionTime) + "."},
			Do: []string{"see to the machine and its karved; if it is gone for good: kubectl delete node " + n.Name},
		})
	case ready.Status != corev1.ConditionTrue:
		out = append(out, Finding{
			Severity: Down, Cause: "it is not ready: " + ready.Message, Because: []string{ready.Reason + ", for " + w.since(ready.LastTransitionTime)},
			Do: []string{"karve status", "docker info"},
		})
	}
	for _, p := range pressures {
		if c := conditions.Node(n, p.of); c != nil && c.Status == corev1.ConditionTrue {
			out = append(out, Finding{
				Severity: Down, Cause: fmt.Sprintf("%s: %s", p.of, c.Message),
				Because: []string{"it takes no new pods, and may evict some, for " + w.since(c.LastTransitionTime)}, Do: []string{p.do},
			})
		}
	}
	if n.Spec.Unschedulable {
		out = append(out, Finding{Severity: Note, Cause: "it is cordoned: no new pods go there", Do: []string{"kubectl uncordon " + n.Name}})
	}
	if len(out) == 0 {
		out = []Finding{{Cause: "nothing is wrong: it is ready"}}
	}
	return out, true
}
