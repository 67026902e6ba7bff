// Package usage finds the pods that use a claim.
package usage

import (
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/volume"
)

const byClaim = "claim"

// Pods is the pods by the claims that they use.
type Pods struct {
	*informer.Informer[*corev1.Pod]
}

// New returns the pods of a set, which may not run yet.
func New(set *informer.Set) Pods {
	pods := informer.For[*corev1.Pod](set)
	pods.AddIndex(byClaim, func(p *corev1.Pod) []string {
		names := volume.ClaimNames(p)
		for i, name := range names {
			names[i] = informer.Key{Namespace: p.Namespace, Name: name}.String()
		}
		return names
	})
	return Pods{pods}
}

// Of returns the pods that name a claim, in no order.
func (p Pods) Of(claim informer.Key) []*corev1.Pod { return p.ByIndex(byClaim, claim.String()) }

// HoldsClaims says whether a pod keeps its claims in use: it has a node, and its containers may still run.
func HoldsClaims(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}
