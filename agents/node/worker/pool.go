// Package worker keeps pods running: one worker a pod, which pumps what it knows into podstate and carries out what
// that decides. A Pool owns the workers of a node.
package worker

import (
	"context"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/admit"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/internal/turns"
)

// Pool owns the workers of a node. Its methods never block and are safe for concurrent use.
type Pool struct {
	cfg      Config
	slots    chan struct{}
	accounts imageAccounts
	counts   counts
	sweeper  turns.Task
	weighing sync.Mutex // held while room is found for a resize: two must not be given the same

	mu      sync.Mutex
	workers map[types.UID]*worker
	asleep  [][]byte                          // pods that a node that pretends has forgotten for now, encoded
	late    map[types.UID][]string            // containers that appeared while their pod's worker was ending
	found   map[types.UID][]runtime.Container // containers of pods that are not known (yet)
	synced  bool
	adopted bool
	refusal *admit.Refusal // why no pod is taken; nil: they are
}

// New returns an empty pool.
func New(cfg Config) *Pool {
	if cfg.Parallel == 0 {
		cfg.Parallel = 8
	}
	if cfg.Started == nil {
		cfg.Started = func(time.Duration) {}
	}
	p := &Pool{
		cfg: cfg, slots: make(chan struct{}, cfg.Parallel),
		workers: map[types.UID]*worker{}, late: map[types.UID][]string{}, found: map[types.UID][]runtime.Container{},
	}
	p.sweeper.Init(cfg.Turns, p.sweep)
	return p
}

// startAll starts workers once the pool has seen what is on the engine.
func (p *Pool) startAll() {
	if !p.adopted {
		return
	}
	for _, w := range p.workers {
		if !w.task.Started() && !p.preceded(w) {
			w.task.Start()
		}
	}
}

// Resync lists the node's containers and takes what is found: at start, and to repair what events have missed.
func (p *Pool) Resync(ctx context.Context) error {
	before := map[string]bool{}
	p.each(func(w *worker) { w.addKnown(before) })
	containers, err := p.cfg.Runtime.List(ctx, p.cfg.Owner)
	if err != nil {
		return err
	}
	p.adopt(containers, before)
	return nil
}

// adopt takes the complete list of the node's containers; before holds those that were known when it was asked for.
func (p *Pool) adopt(containers []runtime.Container, before map[string]bool) {
	p.lock()
	defer p.mu.Unlock()
	byPod := map[types.UID][]runtime.Container{}
	for _, c := range containers {
		byPod[types.UID(c.UID)] = append(byPod[types.UID(c.UID)], c)
		if addr, err := netip.ParseAddr(c.Address); err == nil {
			p.cfg.Network.Reserve(addr, c.UID)
		}
	}
	for uid, w := range p.workers {
		w.adopt(byPod[uid], before)
		delete(byPod, uid)
	}
	p.found = byPod
	p.adopted = true
	p.endOrphans()
	p.startAll()
}

// SetPod tells the newest specification of a pod that belongs to this node.
func (p *Pool) SetPod(pod *corev1.Pod) {
	p.lock()
	defer p.mu.Unlock()
	if w := p.workers[pod.UID]; w != nil {
		w.setPod(pod)
		return
	}
	w := newWorker(p, pod)
	p.admit(w)
	p.workers[pod.UID] = w
	w.adopt(p.found[pod.UID], nil)
	delete(p.found, pod.UID)
	p.lookAtLate(pod.UID)
	p.startAll()
}

// RemovePod tells that a pod is no longer in the API, or no longer this node's.
func (p *Pool) RemovePod(uid types.UID) {
	p.lock()
	defer p.mu.Unlock()
	if w := p.workers[uid]; w != nil {
		w.setGone()
	}
}

// Drained tells that nobody sends new connections to a terminating pod any more.
func (p *Pool) Drained(uid types.UID) {
	p.lock()
	defer p.mu.Unlock()
	if w := p.workers[uid]; w != nil {
		w.setDrained()
	}
}

// Synced tells that SetPod has been called for every pod there is: what is found of others must go.
func (p *Pool) Synced(known func(types.UID) bool) {
	p.lock()
	defer p.mu.Unlock()
	for uid, w := range p.workers {
		if !known(uid) {
			w.setGone()
		}
	}
	p.synced = true
	p.endOrphans()
	p.startAll()
}

// ObjectChanged tells that a ConfigMap or Secret of a namespace has changed.
func (p *Pool) ObjectChanged(namespace string) {
	p.each(func(w *worker) {
		if w.namespace == namespace {
			w.refreshVolumes()
			w.retry(configTrouble)
		}
	})
}

// ClaimChanged tells that a claim of a namespace, or its volume, has changed. What is mounted stays as it is.
func (p *Pool) ClaimChanged(namespace string) {
	p.each(func(w *worker) {
		if w.namespace == namespace {
			w.retry(configTrouble)
		}
	})
}

func (p *Pool) each(do func(*worker)) {
	p.lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		do(w)
	}
}

// Pods returns the pods that have a worker, as last specified.
func (p *Pool) Pods() []*corev1.Pod {
	var out []*corev1.Pod
	p.each(func(w *worker) {
		w.mu.Lock()
		defer w.mu.Unlock()
		out = append(out, w.pod)
	})
	return out
}

// Running counts the pods with a running sandbox, and the running containers.
func (p *Pool) Running() (pods, containers int) {
	p.each(func(w *worker) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if s := w.obs.Sandbox(); s != nil && s.State == runtime.Running {
			pods++
		}
		for name := range w.obs.Containers {
			if c := w.obs.Latest(name); c != nil && c.State == runtime.Running {
				containers++
			}
		}
	})
	return pods, containers
}

// Resend reports every pod's status again, as after the API may have missed some.
func (p *Pool) Resend() { p.each((*worker).resend) }

// forget removes a worker that has done its work.
func (p *Pool) forget(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.workers[w.uid] == w {
		delete(p.workers, w.uid)
	}
	p.lookAtLate(w.uid)
	p.startAll() // one of its name may have waited
	for _, other := range p.workers {
		other.kickHeld() // there is more room now
	}
}
