package plugin

import (
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

// filterTaints refuses nodes with a taint that keeps the pod away and that it does not tolerate.
func filterTaints(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	tolerations := pod.Object.Spec.Tolerations
	return func(n *snapshot.Node) *framework.Reason {
		for i := range n.Object.Spec.Taints {
			t := &n.Object.Spec.Taints[i]
			if t.Effect == corev1.TaintEffectPreferNoSchedule || tolerates(tolerations, t) {
				continue
			}
			return &framework.Reason{
				Message:        "node(s) had untolerated taint(s)",
				Counterfactual: fmt.Sprintf("fits with a toleration for %s:%s", t.Key, t.Effect),
			}
		}
		return nil
	}
}

// scoreTaints counts taints that the pod would rather avoid.
func scoreTaints(_ *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeScore {
	return func(n *snapshot.Node) int64 {
		var bad int64
		for i := range n.Object.Spec.Taints {
			t := &n.Object.Spec.Taints[i]
			if t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(pod.Object.Spec.Tolerations, t) {
				bad++
			}
		}
		return bad
	}
}

func tolerates(tolerations []corev1.Toleration, t *corev1.Taint) bool {
	for i := range tolerations {
		if tolerations[i].ToleratesTaint(logr.Discard(), t, true) {
			return true
		}
	}
	return false
}
