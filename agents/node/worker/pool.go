// Package worker keeps pods running: one worker a pod, which pumps what it knows into podstate and carries out what
// that decides. A Pool owns the workers of a node.
package worker

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/admit"
	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/network"
	"karve.dev/karve/agents/node/probe"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/volume"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/turns"
)

// Network gives sandboxes their addresses and interfaces.
type Network interface {
	// Wait returns when the network is set up.
	Wait(ctx context.Context) error
	// Allocate takes a free address for an owner, a pod's UID. Reserve takes the one that a pod was found with; it is
	// false when that is another's. Release gives an address back.
	Allocate(owner string) (netip.Addr, error)
	Reserve(addr netip.Addr, owner string) bool
	Release(addr netip.Addr, owner string)
	// Attach wires a sandbox; Attached tells whether that has been completed.
	Attach(ctx context.Context, sandbox string, pid int, addr netip.Addr) error
	Attached(sandbox string) bool
	// Detach takes away the wires of a sandbox that has been removed.
	Detach(sandbox string) error
	// Publish makes ports of the machine lead to a pod's address; none takes them back.
	Publish(addr netip.Addr, ports []network.HostPort) error
}

// Objects is what pods refer to, as far as the node knows it.
type Objects interface {
	volume.Objects
	// Services returns those of a namespace that containers are told of.
	Services(namespace string) []*corev1.Service
	// RuntimeClass returns one that a pod names, or nil.
	RuntimeClass(name string) *runtimev1.RuntimeClass
}

// Recorder records events about objects and about parts of them. It never blocks.
type Recorder interface {
	Event(obj client.Object, eventType, reason, format string, args ...any)
	EventOn(ref corev1.ObjectReference, eventType, reason, format string, args ...any)
}

// Reporter takes pods' statuses. It never blocks.
type Reporter interface {
	// Report hands over a pod's newest status; terminated is true when nothing of a deleted pod is left.
	Report(pod types.NamespacedName, uid types.UID, status *corev1.PodStatus, terminated bool)
}

// DNS is what pods' resolv.conf says; without servers they use the host's.
type DNS struct {
	Servers []string
	Domain  string
}

// Config is what workers work with.
type Config struct {
	// Turns is what workers run in. What they do ends with it; containers keep running.
	Turns    *turns.Group
	Owner    runtime.Owner
	Runtime  runtime.Runtime
	Network  Network
	Images   *image.Manager
	Volumes  *volume.Manager
	Probes   *probe.Manager
	Objects  Objects
	Reporter Reporter
	Events   Recorder
	Log      *zap.Logger
	DNS      DNS
	HostIPs  []string
	// APIService is the address at which pods reach the API ("10.96.0.1"); empty when they are not told.
	APIService  string
	Allocatable corev1.ResourceList
	// Node returns the node's object, nil while it is not known. UnsafeSysctls are what pods may set besides what is safe.
	Node          func() *corev1.Node
	UnsafeSysctls []string
	// AppArmor is whether the kernel has it.
	AppArmor bool
	// Started is told how long each pod took from SetPod to the report that it runs.
	Started func(time.Duration)
	// Parallel bounds the creations and starts that the engine works on at once.
	Parallel int
	// MaxProcesses bounds the processes and threads of a container; 0: only the machine does.
	MaxProcesses int64
	// MinOOMScoreAdj is the lowest oom_score_adj that this machine lets containers have.
	MinOOMScoreAdj int
	// RegistryAuth is a file with logins for registries that all pods may use; empty: there is none.
	RegistryAuth string
	// SeccompRoot is where Localhost seccomp profiles are read from.
	SeccompRoot string
}

// Pool owns the workers of a node. Its methods never block and are safe for concurrent use.
type Pool struct {
	cfg      Config
	slots    chan struct{}
	accounts imageAccounts
	counts   counts

	mu      sync.Mutex
	workers map[types.UID]*worker
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
	return &Pool{
		cfg: cfg, slots: make(chan struct{}, cfg.Parallel),
		workers: map[types.UID]*worker{}, late: map[types.UID][]string{}, found: map[types.UID][]runtime.Container{},
	}
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
	p.mu.Lock()
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
	p.mu.Lock()
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
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.workers[uid]; w != nil {
		w.setGone()
	}
}

// Drained tells that nobody sends new connections to a terminating pod any more.
func (p *Pool) Drained(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.workers[uid]; w != nil {
		w.setDrained()
	}
}

// Synced tells that SetPod has been called for every pod there is: what is found of others must go.
func (p *Pool) Synced(known func(types.UID) bool) {
	p.mu.Lock()
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
	p.mu.Lock()
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
