package plugin

import (
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

var reasonUnschedulable = &framework.Reason{Message: "node(s) were unschedulable", Counterfactual: "fits after kubectl uncordon"}

// filterUnschedulable refuses cordoned nodes, unless the pod tolerates that.
func filterUnschedulable(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	cordon := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if tolerates(pod.Object.Spec.Tolerations, &cordon) {
		return nil
	}
	return func(n *snapshot.Node) *framework.Reason {
		if n.Object.Spec.Unschedulable {
			return reasonUnschedulable
		}
		return nil
	}
}

var reasonPorts = &framework.Reason{Message: "node(s) didn't have free ports for the requested pod ports", Counterfactual: "fits once the pods that hold the host ports are gone"}

// filterPorts refuses nodes where a host port is taken.
func filterPorts(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	if len(pod.Ports) == 0 {
		return nil
	}
	return func(n *snapshot.Node) *framework.Reason {
		for used := range n.Ports {
			for _, want := range pod.Ports {
				if used.Meets(want) {
					return reasonPorts
				}
			}
		}
		return nil
	}
}
