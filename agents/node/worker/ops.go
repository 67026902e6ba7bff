package worker

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/runtime"
)

// volumesOp stands where a container's name would, for what is done to the pod's volumes. No container can have it: it is upper case.
const volumesOp = "VOLUMES"

// begin sets an action going and returns at once. mu must be held.
func (w *worker) begin(ctx context.Context, a podstate.Action) {
	switch a.Verb {
	case podstate.MakeSandbox:
		w.beginSandbox(ctx, a)
	case podstate.Start:
		w.beginStart(ctx, a)
	case podstate.Stop:
		w.beginStop(ctx, a)
	case podstate.Remove:
		w.beginRemove(ctx, a)
	case podstate.Resize:
		w.beginResize(ctx, a)
	case podstate.Abort:
		if cancel := w.aborts[a.Name]; cancel != nil {
			cancel() // what the engine has begun it completes
		}
	}
}

// launch runs an operation beside the turns and keeps its key busy until it has ended. mu must be held.
func (w *worker) launch(ctx context.Context, key string, op podstate.Op, run func(ctx context.Context)) {
	put(&w.obs.Busy, key, op)
	ctx, cancel := context.WithCancel(ctx)
	put(&w.aborts, key, cancel)
	w.aside(func(context.Context) {
		run(ctx)
		cancel()
		w.mu.Lock()
		delete(w.obs.Busy, key)
		delete(w.aborts, key)
		if len(w.aborts) == 0 { // maps do not shrink, and most pods are quiet most of the time
			w.obs.Busy, w.aborts = nil, nil
		}
		if key == runtime.SandboxName {
			w.rewire()
		}
		w.mu.Unlock()
		w.kick()
	})
}

// aside runs something beside the turns, unless the agent ends. mu must be held.
func (w *worker) aside(run func(life context.Context)) {
	w.ops.Add(1)
	if !w.pool.cfg.Turns.Go(func(life context.Context) {
		defer w.ops.Done()
		run(life)
	}) {
		w.ops.Done()
	}
}

func (w *worker) beginRemove(ctx context.Context, a podstate.Action) {
	w.launch(ctx, a.ID, podstate.Op{Verb: podstate.Remove}, func(ctx context.Context) {
		if a.Name == runtime.SandboxName {
			w.takePortsBack()
		}
		if err := w.pool.cfg.Runtime.Remove(w.life(), a.ID); err != nil {
			w.fail(a.ID, removeError, err.Error(), retryDelay)
			return
		}
		if a.Name == runtime.SandboxName {
			if err := w.pool.cfg.Network.Detach(a.ID); err != nil {
				w.log().Warn("take the wires of a sandbox away", zapError(err))
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fine(a.ID)
		w.drop(a.ID)
	})
}

// drop forgets a container that the agent itself has removed. mu must be held.
func (w *worker) drop(id string) {
	delete(w.obs.Users, id)
	delete(w.obs.Amounts, id)
	delete(w.obs.HookErrors, id)
	delete(w.short, id)
	is := func(c runtime.Container) bool { return c.ID == id }
	w.obs.Sandboxes = slices.DeleteFunc(w.obs.Sandboxes, is)
	for name := range w.obs.Containers {
		w.obs.Containers[name] = slices.DeleteFunc(w.obs.Containers[name], is)
	}
	if len(w.obs.Sandboxes) == 0 && w.obs.Busy[runtime.SandboxName].Verb != podstate.MakeSandbox {
		w.obs.Wired = false
		if w.address.IsValid() {
			w.pool.cfg.Network.Release(w.address, string(w.uid))
			w.address, w.obs.Address = netip.Addr{}, ""
		}
	}
}

// slot takes one of the bounded places in which the engine works for this node.
func (p *Pool) slot(ctx context.Context) (release func(), err error) {
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keepVolumesFresh writes volumes anew when something in them has changed or a token is due. mu must be held.
func (w *worker) keepVolumesFresh(ctx context.Context, now time.Time) {
	if _, busy := w.obs.Busy[volumesOp]; busy || w.prepared == nil || w.pod.DeletionTimestamp != nil || w.obs.Gone {
		return
	}
	at := w.refreshAt()
	if !w.stale && (at.IsZero() || now.Before(at)) {
		return
	}
	w.stale = false
	w.launch(ctx, volumesOp, podstate.Op{}, func(ctx context.Context) {
		if err := w.prepareVolumes(ctx, true); err != nil {
			w.sayFailedMount(w.pool.explain(err))
		}
	})
}

// releaseVolumes takes away what is mounted for a pod that has ended, though its object stays: memory that lies in its volumes
// is the node's again, and servers are left alone. mu must be held.
func (w *worker) releaseVolumes(ctx context.Context) {
	if _, busy := w.obs.Busy[volumesOp]; busy || w.released || w.pod.DeletionTimestamp != nil || w.obs.Gone {
		return
	}
	w.released = true
	w.launch(ctx, volumesOp, podstate.Op{}, func(context.Context) {
		w.preparing.Lock()
		defer w.preparing.Unlock()
		w.mu.Lock()
		w.prepared = nil
		w.mu.Unlock()
		if err := w.unmount(); err != nil {
			w.log().Warn("volumes of a pod that has ended stay mounted", zap.Error(err))
		}
	})
}

// unmount takes away what is mounted for the pod.
func (w *worker) unmount() error {
	unfinished, err := w.pool.cfg.Volumes.Unmount(string(w.uid))
	for _, name := range unfinished {
		w.event("", corev1.EventTypeWarning, "FailedUnMount", "UnmountVolume.TearDown for volume %q goes on without the pod: its server does not answer, and has not got all that was written", name)
	}
	return err
}

// refreshAt is when a token in the volumes needs renewal. mu must be held.
func (w *worker) refreshAt() time.Time {
	if w.prepared == nil || w.pod.DeletionTimestamp != nil || w.obs.Gone {
		return time.Time{}
	}
	return w.prepared.Refresh
}
