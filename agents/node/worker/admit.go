package worker

import (
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/admit"
	"karve.dev/karve/agents/node/podstate"
)

// admit rejects a pod that is new to the node and that it cannot or must not run. mu must be held.
func (p *Pool) admit(w *worker) {
	// What a node has begun it goes on with.
	if w.pod.Status.StartTime != nil || w.pod.DeletionTimestamp != nil || len(p.found[w.uid]) > 0 {
		return
	}
	why := p.refusal
	if why == nil {
		why = admit.Check(w.pod, &admit.Facts{
			Node: p.cfg.Node(), Allocatable: p.cfg.Allocatable, Others: p.present(), UnsafeSysctls: p.cfg.UnsafeSysctls, AppArmor: p.cfg.AppArmor,
		})
	}
	if why == nil {
		return
	}
	w.obs.Ending = &podstate.Ending{Reason: why.Reason, Message: why.Message, Rejected: true}
	w.event("", corev1.EventTypeWarning, why.Reason, "%s", why.Message)
}

// present returns the pods that have not ended, and that somebody still wants here. mu must be held.
func (p *Pool) present() []*corev1.Pod {
	out := make([]*corev1.Pod, 0, len(p.workers))
	for _, w := range p.workers {
		w.mu.Lock()
		if !w.obs.Gone && w.obs.Ending == nil && !podstate.Finished(w.pod, &w.obs) {
			out = append(out, podstate.Granted(w.pod, &w.obs))
		}
		w.mu.Unlock()
	}
	return out
}
