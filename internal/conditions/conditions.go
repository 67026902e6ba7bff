// Package conditions reads the conditions of nodes and pods.
package conditions

import corev1 "k8s.io/api/core/v1"

// Node returns a node's condition of a type, nil when it has none. It points into the node.
func Node(n *corev1.Node, of corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == of {
			return c
		}
	}
	return nil
}

// Pod returns a pod's condition of a type, nil when it has none. It points into the pod.
func Pod(p *corev1.Pod, of corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == of {
			return c
		}
	}
	return nil
}

// NodeReady reports whether a node's agent says that pods can run there, and is heard of.
func NodeReady(n *corev1.Node) bool {
	c := Node(n, corev1.NodeReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// PodReady reports whether a pod serves.
func PodReady(p *corev1.Pod) bool {
	c := Pod(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}
