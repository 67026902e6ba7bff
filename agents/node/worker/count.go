package worker

import (
	"sync"

	"karve.dev/karve/agents/node/podstate"
)

// Start is a sort of starts that a node counts: those of containers by their type, and those of sandboxes, for which Type is
// empty. Fault is why they have failed; empty for all that were tried.
type Start struct{ Type, Fault string }

// counts are how often each sort of start has been tried, or has failed.
type counts struct {
	mu sync.Mutex
	n  map[Start]int
}

func (c *counts) add(kind, fault string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[Start]int{}
	}
	c.n[Start{kind, fault}]++
}

// Starts tells how often containers and sandboxes have been started, and how often that failed.
func (p *Pool) Starts() map[Start]int {
	p.counts.mu.Lock()
	defer p.counts.mu.Unlock()
	out := make(map[Start]int, len(p.counts.n))
	for start, n := range p.counts.n {
		out[start] = n
	}
	return out
}

// containerType is "container", "init_container" or "ephemeral_container".
func containerType(w *worker, name string) string {
	for i := range w.pod.Spec.InitContainers {
		if w.pod.Spec.InitContainers[i].Name == name {
			return "init_container"
		}
	}
	for i := range w.pod.Spec.EphemeralContainers {
		if w.pod.Spec.EphemeralContainers[i].Name == name {
			return "ephemeral_container"
		}
	}
	return "container"
}

// countFault counts a start that has failed; one that is still under way when the agent ends does not count.
func (w *worker) countFault(a podstate.Action, fault string) {
	w.mu.Lock()
	kind := containerType(w, a.Name)
	w.mu.Unlock()
	w.pool.counts.add(kind, fault)
}
