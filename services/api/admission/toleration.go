package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// evictAfter is how long pods stay on a node that is not ready or not reachable, unless they say otherwise.
const evictAfter int64 = 300

// defaultTolerations lets pods stay for a while on a node that has lost contact.
type defaultTolerations struct{}

func (defaultTolerations) Admit(_ context.Context, a *Attributes) error {
	if a.Operation == Delete || a.Object == nil || !a.Is("", "Pod") {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if toleratesNoExecute(pod.Spec.Tolerations, key) {
			continue
		}
		seconds := evictAfter
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
		})
	}
	return nil
}

func toleratesNoExecute(tolerations []corev1.Toleration, key string) bool {
	for _, t := range tolerations {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
