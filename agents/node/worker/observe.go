package worker

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/probe"
	"karve.dev/karve/agents/node/runtime"
)

// engineKilled is the exit code of a container that was removed while it ran: SIGKILL's.
const engineKilled = 137

// adopt takes the complete list of the pod's containers. What was known before but is not listed has been removed;
// operations under way tell about their own container themselves.
func (w *worker) adopt(list []runtime.Container, before map[string]bool) {
	// Sandboxes first: they bring the address at which containers are probed.
	slices.SortStableFunc(list, func(a, b runtime.Container) int { return order(&a) - order(&b) })
	w.mu.Lock()
	listed := map[string]bool{}
	for _, c := range list {
		listed[c.ID] = true
		if c.State == runtime.Exited && !c.IsSandbox() {
			c.Message = w.messageFromFile(&c)
		}
		w.observe(c)
	}
	for _, c := range w.known() {
		if _, busy := w.obs.Busy[c.Container]; !busy && before[c.ID] && !listed[c.ID] {
			w.lost(c.ID)
		}
	}
	w.mu.Unlock()
	w.kick()
}

func order(c *runtime.Container) int {
	if c.IsSandbox() {
		return 0
	}
	return 1
}

func (w *worker) addKnown(to map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.known() {
		to[c.ID] = true
	}
}

// known lists the containers and sandboxes that are believed to exist. mu must be held.
func (w *worker) known() []runtime.Container {
	all := slices.Clone(w.obs.Sandboxes)
	for _, list := range w.obs.Containers {
		for _, c := range list {
			if !c.Removed {
				all = append(all, c)
			}
		}
	}
	return all
}

// observe takes what is now known about one container. mu must be held.
func (w *worker) observe(c runtime.Container) {
	if c.IsSandbox() {
		w.observeSandbox(c)
		return
	}
	c.OOMKilled = c.OOMKilled || w.short[c.ID]
	list := w.obs.Containers[c.Container]
	i := slices.IndexFunc(list, func(o runtime.Container) bool { return o.ID == c.ID })
	switch {
	case i >= 0 && outdated(&list[i], &c):
		return
	case i >= 0:
		if c.Message == "" {
			c.Message = list[i].Message
		}
		list[i] = c
	default:
		// An attempt that was made again replaces the one that never ran.
		list = slices.DeleteFunc(list, func(o runtime.Container) bool { return o.Attempt == c.Attempt && o.State == runtime.Created })
		list = append(list, c)
		slices.SortStableFunc(list, func(a, b runtime.Container) int { return a.Attempt - b.Attempt })
	}
	put(&w.obs.Containers, c.Container, list)
	if c.State == runtime.Running {
		w.probe(&c)
	} else {
		w.unprobe(&c)
	}
	if c.State == runtime.Exited {
		w.release(c.ID)
	}
}

// starved notes that a container has been short of memory. The engine itself forgets that when it learns of the end first.
// mu must be held.
func (w *worker) starved(id, container string) {
	if w.short == nil {
		w.short = map[string]bool{}
	}
	w.short[id] = true
	list := w.obs.Containers[container]
	for i := range list {
		if list[i].ID == id {
			list[i].OOMKilled = true
			w.kick()
		}
	}
}

// outdated tells whether news about a container is older than what is known: it ends only once, unless started again.
func outdated(known, news *runtime.Container) bool {
	return known.State == runtime.Exited && news.State != runtime.Exited && !news.StartedAt.After(known.StartedAt)
}

func (w *worker) observeSandbox(c runtime.Container) {
	i := slices.IndexFunc(w.obs.Sandboxes, func(o runtime.Container) bool { return o.ID == c.ID })
	switch {
	case i >= 0 && outdated(&w.obs.Sandboxes[i], &c):
		return
	case i >= 0:
		w.obs.Sandboxes[i] = c
	default:
		w.obs.Sandboxes = append(w.obs.Sandboxes, c)
		slices.SortStableFunc(w.obs.Sandboxes, func(a, b runtime.Container) int { return a.Attempt - b.Attempt })
	}
	w.hadOne = true
	if addr, err := netip.ParseAddr(c.Address); err == nil && !w.address.IsValid() && w.pool.cfg.Network.Reserve(addr, string(w.uid)) {
		w.address = addr
		w.obs.Address = c.Address
	}
	if _, busy := w.obs.Busy[runtime.SandboxName]; !busy {
		w.rewire()
	}
}

// rewire finds out whether the newest sandbox has its network. One with another address than the pod's (made by an
// agent that was cut off, after its address had gone to somebody else) has not, and is replaced. mu must be held.
func (w *worker) rewire() {
	w.obs.Wired = false
	if s := w.obs.Sandbox(); s != nil && s.State == runtime.Running {
		w.obs.Wired = s.Address == w.obs.Address && (s.Address == "" || w.pool.cfg.Network.Attached(s.ID))
		if w.obs.Wired {
			w.sandbox = readySandbox(s.ID)
		}
	}
}

// lost notes that a container is no longer on the engine. Of the newest attempt the record is kept, for its status;
// others are forgotten. mu must be held.
func (w *worker) lost(id string) {
	w.obs.Sandboxes = slices.DeleteFunc(w.obs.Sandboxes, func(c runtime.Container) bool { return c.ID == id })
	for name, list := range w.obs.Containers {
		i := slices.IndexFunc(list, func(c runtime.Container) bool { return c.ID == id })
		if i < 0 {
			continue
		}
		c := &list[i]
		w.unprobe(c)
		w.release(id)
		if i < len(list)-1 || c.State == runtime.Created {
			w.obs.Containers[name] = slices.Delete(list, i, i+1)
			continue
		}
		c.Removed = true
		if c.State == runtime.Running {
			c.State, c.ExitCode, c.FinishedAt = runtime.Exited, engineKilled, time.Now()
		}
	}
	if _, busy := w.obs.Busy[runtime.SandboxName]; !busy {
		w.rewire()
	}
}

// release wakes the operation that waits for a container's end. mu must be held.
func (w *worker) release(id string) {
	if s := w.stops[id]; s != nil {
		s.endOnce.Do(func() { close(s.ended) })
	}
}

// handle takes an event of the engine; false when the worker has stopped working. Called under the pool's lock: it must
// not block.
func (w *worker) handle(ev runtime.Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	switch ev.Kind {
	case runtime.ContainerRemoved:
		if _, removing := w.obs.Busy[ev.ID]; !removing {
			w.lost(ev.ID)
			w.kick()
		}
		return true
	case runtime.ContainerOOM:
		w.starved(ev.ID, ev.Meta.Container)
		return true
	case runtime.ContainerCreated, runtime.ContainerStarted:
		if op, busy := w.obs.Busy[ev.Meta.Container]; busy && (op.Verb == podstate.Start || op.Verb == podstate.MakeSandbox) {
			return true // our own, which tells about it itself
		}
	}
	w.beginLook(ev.ID)
	return true
}

// beginLook looks at a container beside the turns. mu must be held.
func (w *worker) beginLook(id string) {
	w.aside(func(life context.Context) { w.look(life, id) })
}

// lookLater is beginLook for the pool; false when the worker has stopped working.
func (w *worker) lookLater(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.beginLook(id)
	}
	return !w.closed
}

// look inspects a container and takes what is found.
func (w *worker) look(ctx context.Context, id string) {
	c, err := w.pool.cfg.Runtime.Inspect(ctx, id)
	if err == nil && c.State == runtime.Exited {
		c.Message = w.terminationMessage(ctx, &c)
	}
	w.mu.Lock()
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		w.lost(id)
	case err == nil:
		w.observe(c)
	}
	w.mu.Unlock()
	w.kick()
}

// probe begins to probe a running container; already probed ones go on. mu must be held.
func (w *worker) probe(c *runtime.Container) {
	spec := findContainer(w.pod, c.Container)
	if spec == nil || spec.LivenessProbe == nil && spec.ReadinessProbe == nil && spec.StartupProbe == nil {
		return
	}
	name, id := c.Container, c.ID
	host := w.obs.Address
	if w.pod.Spec.HostNetwork && len(w.obs.HostIPs) > 0 {
		host = w.obs.HostIPs[0]
	}
	w.pool.cfg.Probes.Add(probe.Target{
		UID: string(w.uid), Spec: spec, ID: id, Host: host, Started: c.StartedAt, Known: w.knownHealth(name, id),
		Exec: func(ctx context.Context, command []string) (int, string, error) {
			return w.pool.exec(ctx, id, command)
		},
		Changed: func() {
			w.mu.Lock()
			put(&w.obs.Health, name, w.pool.cfg.Probes.Health(string(w.uid), name))
			w.mu.Unlock()
			w.kick()
		},
		Unhealthy: func(message string) { w.event(name, "Warning", "Unhealthy", "%s", message) },
		Warned:    func(message string) { w.event(name, "Warning", "ProbeWarning", "%s", message) },
	})
	put(&w.obs.Health, name, w.pool.cfg.Probes.Health(string(w.uid), name))
}

// knownHealth is what was reported of a container before the agent restarted: a ready pod stays ready.
func (w *worker) knownHealth(name, id string) podstate.Health {
	for _, s := range append(slices.Clone(w.obs.Previous.ContainerStatuses), w.obs.Previous.InitContainerStatuses...) {
		if s.Name == name && s.ContainerID == "docker://"+id {
			return podstate.Health{ID: id, Started: s.Started != nil && *s.Started, Ready: s.Ready}
		}
	}
	return podstate.Health{}
}

func (w *worker) unprobe(c *runtime.Container) {
	if h := w.pool.cfg.Probes.Health(string(w.uid), c.Container); h.ID == c.ID {
		w.pool.cfg.Probes.Remove(string(w.uid), c.Container)
	}
}
