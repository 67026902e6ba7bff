package worker

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/runtime"
)

// pendingSandbox is a sandbox that is being made. Containers are created as soon as it exists and started as soon as
// it is wired, so that their preparation costs no time of its own.
type pendingSandbox struct {
	id      string
	err     error
	created chan struct{} // closed once id is set, or err
	ready   chan struct{} // closed once it runs and is wired, or err is set
	once    sync.Once
}

func newPending() *pendingSandbox {
	return &pendingSandbox{created: make(chan struct{}), ready: make(chan struct{})}
}

// readySandbox is one that runs already.
func readySandbox(id string) *pendingSandbox {
	p := &pendingSandbox{id: id, created: closed, ready: closed}
	p.once.Do(func() {})
	return p
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (p *pendingSandbox) exists(id string) {
	p.once.Do(func() {
		p.id = id
		close(p.created)
	})
}

func (p *pendingSandbox) finish(err error) {
	p.err = err
	p.once.Do(func() { close(p.created) })
	close(p.ready)
}

// wait returns the sandbox's ID once it exists or, if asked, once containers may start in it.
func (p *pendingSandbox) wait(ctx context.Context, ready bool) (string, error) {
	until := p.created
	if ready {
		until = p.ready
	}
	select {
	case <-until:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	switch {
	case ready:
		return p.id, p.err
	case p.id == "": // there will be none: the error is about to come
		return p.wait(ctx, true)
	}
	return p.id, nil
}

func (w *worker) beginSandbox(ctx context.Context, a podstate.Action) {
	pending := newPending()
	w.sandbox = pending
	pod := w.pod
	if w.hadOne {
		w.pool.cfg.Events.EventOn(w.ref(""), corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	w.pool.counts.add("", "")
	_, omitted := w.resolver(pod)
	for _, what := range omitted {
		w.pool.cfg.Events.EventOn(w.ref(""), corev1.EventTypeWarning, "DNSConfigForming", "%s", what)
	}
	w.launch(ctx, runtime.SandboxName, podstate.Op{Verb: podstate.MakeSandbox}, func(ctx context.Context) {
		err := w.makeSandbox(ctx, pod, a.Attempt, pending)
		pending.finish(err)
		switch {
		case err == nil:
			w.mu.Lock()
			w.fine(runtime.SandboxName)
			w.mu.Unlock()
		case ctx.Err() == nil:
			w.pool.counts.add("", sandboxError)
			w.event("", corev1.EventTypeWarning, sandboxError, "Failed to create pod sandbox: %v", err)
			w.fail(runtime.SandboxName, sandboxError, err.Error(), retryDelay)
		}
	})
}

// makeSandbox creates, starts and wires a sandbox. Its address stands in its labels, so it is chosen before.
func (w *worker) makeSandbox(ctx context.Context, pod *corev1.Pod, attempt int, pending *pendingSandbox) error {
	cfg := &w.pool.cfg
	var addr netip.Addr
	if !pod.Spec.HostNetwork {
		var err error
		if addr, err = w.chooseAddress(ctx); err != nil {
			return err
		}
	}
	spec, err := w.sandboxSpec(pod, attempt, addr)
	if err != nil {
		return err
	}
	release, err := w.pool.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	id, err := cfg.Runtime.CreateSandbox(w.life(), spec)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.observe(runtime.Container{Meta: spec.Meta, ID: id, State: runtime.Created})
	w.mu.Unlock()
	pending.exists(id)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c, err := cfg.Runtime.Start(w.life(), id)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.observe(c)
	w.mu.Unlock()
	if addr.IsValid() {
		if err := cfg.Network.Attach(ctx, id, c.PID, addr); err != nil {
			return fmt.Errorf("set up the pod's network: %w", err)
		}
		if ports := hostPorts(pod); len(ports) > 0 {
			w.publish(addr, ports)
		}
	}
	w.mu.Lock()
	w.obs.Wired = true
	w.mu.Unlock()
	w.kick()
	return nil
}

// handler is which of the engine's runtimes the pod's RuntimeClass asks for.
func (w *worker) handler(pod *corev1.Pod) (string, error) {
	name := pod.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return "", nil
	}
	class := w.pool.cfg.Objects.RuntimeClass(*name)
	if class == nil {
		return "", fmt.Errorf("runtimeclass.node.k8s.io %q not found", *name)
	}
	return class.Handler, nil
}

// sandboxHandler is what the pod's sandbox runs with, and its containers too.
func (w *worker) sandboxHandler() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.obs.Sandbox(); s != nil {
		return s.Handler
	}
	return ""
}

// chooseAddress keeps the pod's address when it had one: a new sandbox then changes nothing for its clients.
func (w *worker) chooseAddress(ctx context.Context) (netip.Addr, error) {
	if err := w.pool.cfg.Network.Wait(ctx); err != nil {
		return netip.Addr{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.address.IsValid() {
		return w.address, nil
	}
	addr, err := w.pool.cfg.Network.Allocate(string(w.uid))
	if err != nil {
		return addr, fmt.Errorf("find an address: %w", err)
	}
	w.address, w.obs.Address = addr, addr.String()
	return addr, nil
}

func (w *worker) meta(pod *corev1.Pod, container string, attempt int) runtime.Meta {
	return runtime.Meta{
		Owner: w.pool.cfg.Owner, Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID),
		Container: container, Attempt: attempt, Grace: gracePeriod(pod),
	}
}

func (w *worker) sandboxSpec(pod *corev1.Pod, attempt int, addr netip.Addr) (runtime.SandboxSpec, error) {
	name, err := kernelHostname(pod, w.pool.cfg.DNS.Domain)
	if err != nil {
		return runtime.SandboxSpec{}, err
	}
	spec := runtime.SandboxSpec{
		Meta:        w.meta(pod, runtime.SandboxName, attempt),
		Hostname:    name,
		HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC,
		OOMScoreAdj: max(sandboxOOMScoreAdj, w.pool.cfg.MinOOMScoreAdj),
	}
	if addr.IsValid() {
		spec.Address = addr.String()
	}
	if sc := pod.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		spec.Sysctls = map[string]string{}
		for _, s := range sc.Sysctls {
			spec.Sysctls[s.Name] = s.Value
		}
	}
	spec.Handler, err = w.handler(pod)
	return spec, err
}
