package node

import (
	"net/netip"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/session"
)

var _ session.Handler = (*Agent)(nil)

// SetPod implements session.Handler.
func (a *Agent) SetPod(pod *corev1.Pod) {
	if !a.static.SetMirror(pod) {
		a.pool.SetPod(pod)
	}
}

// RemovePod implements session.Handler.
func (a *Agent) RemovePod(uid types.UID) {
	if !a.static.RemoveMirror(uid) {
		a.pool.RemovePod(uid)
	}
}

// Drained implements session.Handler.
func (a *Agent) Drained(uid types.UID) { a.pool.Drained(uid) }

// Synced implements session.Handler. The API may have missed statuses while it was away: all are sent again.
func (a *Agent) Synced(known func(types.UID) bool) {
	a.static.Synced(known)
	a.pool.Synced(func(uid types.UID) bool { return known(uid) || a.static.Owns(uid) })
	a.pool.Resend()
}

// ObjectChanged implements session.Handler.
func (a *Agent) ObjectChanged(namespace string) { a.pool.ObjectChanged(namespace) }

// ClaimChanged implements session.Handler.
func (a *Agent) ClaimChanged(namespace string) { a.pool.ClaimChanged(namespace) }

// VolumeChanged implements session.Handler.
func (a *Agent) VolumeChanged() { a.folders.look() }

// SetNode implements session.Handler.
func (a *Agent) SetNode(node *corev1.Node) {
	a.node.Stored(node)
	if node.Spec.PodCIDR == "" {
		return
	}
	cidr, err := netip.ParsePrefix(node.Spec.PodCIDR)
	if err != nil {
		a.log.Error("the node's podCIDR", zap.String("podCIDR", node.Spec.PodCIDR), zap.Error(err))
		return
	}
	if old := a.podCIDR.Swap(&cidr); old == nil || *old != cidr {
		a.netKeeper.Wake()
	}
}
