package node

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

// nodeViews remembers what the streams of Services have to know of each Node. Nodes report more and more often than that,
// and every one of them is told of all others. It belongs to the goroutine that follows Nodes.
type nodeViews map[string]string

// changed takes a change of a Node in and tells whether it is news for the streams of Services.
func (v nodeViews) changed(e *watch.Entry, gone bool) bool {
	if gone {
		delete(v, e.Name)
		return true
	}
	n := &corev1.Node{}
	if err := codec.Decode(e.Value, e.Revision, n); err != nil {
		return true
	}
	before, known := v[e.Name]
	v[e.Name] = viewOf(n)
	return !known || before != v[e.Name]
}

// viewOf is what proxies look at: where the node is, which addresses it and its pods have, and whether it is heard of.
func viewOf(n *corev1.Node) string {
	ready := corev1.ConditionUnknown
	if c := conditions.Node(n, corev1.NodeReady); c != nil {
		ready = c.Status
	}
	return fmt.Sprint(n.UID, n.Labels, n.Spec.PodCIDR, n.Spec.PodCIDRs, n.Status.Addresses, ready, n.DeletionTimestamp != nil)
}
