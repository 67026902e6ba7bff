package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// taintNewNodes keeps pods off a node until it has been seen to be ready.
type taintNewNodes struct{}

func (taintNewNodes) Admit(_ context.Context, a *Attributes) error {
	if a.Operation != Create || !a.Is("", "Node") {
		return nil
	}
	node := a.Object.(*corev1.Node)
	for _, t := range node.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady && t.Effect == corev1.TaintEffectNoSchedule {
			return nil
		}
	}
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule})
	return nil
}
