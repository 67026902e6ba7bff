package podgc

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/conditions"
)

// surplus returns the terminated pods that are too many: the oldest ones above limit. Pods that are being deleted or
// that something still waits for do not count.
func surplus(pods []*corev1.Pod, limit int) []*corev1.Pod {
	var ended []*corev1.Pod
	for _, p := range pods {
		if terminated(p) && p.DeletionTimestamp == nil {
			ended = append(ended, p)
		}
	}
	if len(ended) <= limit {
		return nil
	}
	slices.SortFunc(ended, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return ended[:len(ended)-limit]
}

func terminated(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// stranded reports whether a pod is being deleted and no node will ever say that it has ended.
func stranded(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && p.Spec.NodeName == "" && !removed(p)
}

// removed reports whether all has been done about a pod already: it waits for somebody's finalizer only.
func removed(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds == 0 && terminated(p)
}

// outOfService reports whether a node's administrator has declared it off: what was terminating there has ended.
func outOfService(n *corev1.Node) bool {
	off := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
	return off && !conditions.NodeReady(n)
}

// failed is the status that a pod gets before it is removed without its node's word.
func failed(p *corev1.Pod, why string) (*corev1.Pod, bool) {
	if terminated(p) {
		return p, false
	}
	out := p.DeepCopy()
	out.Status.Phase = corev1.PodFailed
	condition := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC", Message: "PodGC: " + why}
	for i := range out.Status.Conditions {
		if out.Status.Conditions[i].Type == condition.Type {
			out.Status.Conditions[i] = condition
			return out, true
		}
	}
	out.Status.Conditions = append(out.Status.Conditions, condition)
	return out, true
}
