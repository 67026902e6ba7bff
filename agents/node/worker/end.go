package worker

import (
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/admit"
	"karve.dev/karve/agents/node/podstate"
)

// End ends a pod for the node's own reasons: its containers are stopped, and it has failed. It is false for a pod that
// is not there or ends already. Done is closed when nothing of it runs any more, or when it is gone.
func (p *Pool) End(uid types.UID, ending podstate.Ending) (done <-chan struct{}, ok bool) {
	p.lock()
	defer p.mu.Unlock()
	w := p.workers[uid]
	if w == nil {
		return nil, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.obs.Ending != nil || w.obs.Gone || podstate.Finished(w.pod, &w.obs) {
		return nil, false
	}
	w.obs.Ending = &ending
	w.stopped = make(chan struct{})
	w.kick()
	return w.stopped, true
}

// Refuse rejects all pods that come from now on.
func (p *Pool) Refuse(why admit.Refusal) {
	p.lock()
	defer p.mu.Unlock()
	p.refusal = &why
}

// Accept takes Refuse back.
func (p *Pool) Accept() {
	p.lock()
	defer p.mu.Unlock()
	p.refusal = nil
}

// tellStopped closes what End returned once the pod has been stopped. mu must be held.
func (w *worker) tellStopped(stopped bool) {
	if w.stopped != nil && stopped {
		close(w.stopped)
		w.stopped = nil
	}
}
