package worker

import (
	"maps"
	"slices"

	"karve.dev/karve/agents/node/podserver"
	"karve.dev/karve/agents/node/runtime"
)

// Find returns a pod as it is now; uid may be empty.
func (p *Pool) Find(namespace, name, uid string) (*podserver.Pod, bool) {
	p.mu.Lock()
	var found *worker
	for _, w := range p.workers {
		if w.namespace == namespace && w.name == name && (uid == "" || string(w.uid) == uid) {
			found = w
		}
	}
	p.mu.Unlock()
	if found == nil {
		return nil, false
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	out := &podserver.Pod{Spec: found.pod, Containers: maps.Clone(found.obs.Containers), Status: found.obs.Previous}
	for c, list := range out.Containers {
		out.Containers[c] = slices.Clone(list)
	}
	if s := found.obs.Sandbox(); s != nil {
		out.Sandbox = new(runtime.Container)
		*out.Sandbox = *s
	}
	return out, true
}
