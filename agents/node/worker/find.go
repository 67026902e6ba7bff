package worker

import (
	"maps"
	"slices"

	"karve.dev/karve/agents/node/podserver"
	"karve.dev/karve/agents/node/runtime"
)

// Find returns a pod as it is now; uid may be empty.
func (p *Pool) Find(namespace, name, uid string) (*podserver.Pod, bool) {
	p.lock()
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
	return found.snapshot(), true
}

// All returns every pod that has a worker, as it is now.
func (p *Pool) All() []*podserver.Pod {
	var out []*podserver.Pod
	p.each(func(w *worker) { out = append(out, w.snapshot()) })
	return out
}

func (w *worker) snapshot() *podserver.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &podserver.Pod{Spec: w.pod, Containers: maps.Clone(w.obs.Containers), Status: w.obs.Previous}
	for c, list := range out.Containers {
		out.Containers[c] = slices.Clone(list)
	}
	if w.prepared != nil {
		out.Volumes = w.prepared.Paths
	}
	if s := w.obs.Sandbox(); s != nil {
		out.Sandbox = new(runtime.Container)
		*out.Sandbox = *s
	}
	return out
}
