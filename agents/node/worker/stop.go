package worker

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/podstate"
)

// killWait is how long the engine may take to report a killed container's end before it is asked.
const killWait = 5 * time.Second

// stopping is the end of one container. Its deadline may be brought forward.
type stopping struct {
	ended    chan struct{}
	endOnce  sync.Once
	sooner   chan struct{} // tells that the deadline has changed
	deadline time.Time     // under the worker's mu
}

func (w *worker) beginStop(ctx context.Context, a podstate.Action) {
	deadline := time.Now().Add(a.Grace)
	if s := w.stops[a.ID]; s != nil {
		s.deadline = deadline
		put(&w.obs.Busy, a.Name, podstate.Op{Verb: podstate.Stop, Deadline: deadline})
		select {
		case s.sooner <- struct{}{}:
		default:
		}
		return
	}
	s := &stopping{ended: make(chan struct{}), sooner: make(chan struct{}, 1), deadline: deadline}
	put(&w.stops, a.ID, s)
	w.pool.cfg.Probes.Remove(string(w.uid), a.Name)
	w.pool.cfg.Events.EventOn(w.ref(a.Name), corev1.EventTypeNormal, "Killing", "%s", a.Why)
	pod, signal := w.pod, w.stopSignal(a)
	w.launch(ctx, a.Name, podstate.Op{Verb: podstate.Stop, Deadline: deadline}, func(ctx context.Context) {
		w.insistOnStop(ctx, pod, a, s, signal)
		w.mu.Lock()
		delete(w.stops, a.ID)
		w.mu.Unlock()
	})
}

// insistOnStop ends a container, again and again while the engine fails to.
func (w *worker) insistOnStop(ctx context.Context, pod *corev1.Pod, a podstate.Action, s *stopping, signal string) {
	for again := false; ; again = true {
		err := w.stopContainer(ctx, pod, a, s, signal, again)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !again {
			w.log().Warn("stop container", zapContainer(a.Name), zapError(err))
		}
		w.waitOrLook(ctx, a.ID, s, retryDelay(2))
		select {
		case <-s.ended:
			return
		default:
		}
	}
}

// stopContainer asks a container to end, waits, and kills it. What comes before that is done once.
func (w *worker) stopContainer(ctx context.Context, pod *corev1.Pod, a podstate.Action, s *stopping, signal string, again bool) error {
	rt := w.pool.cfg.Runtime
	if a.Grace > 0 && !again {
		began := time.Now()
		w.preStop(ctx, pod, a, s)
		if pod.DeletionTimestamp != nil {
			w.waitDrained(ctx, s, began.Add(a.Grace/2))
		}
	}
	if a.Grace > 0 {
		if err := rt.Signal(ctx, a.ID, signal); err != nil {
			return err
		}
		w.waitEnd(ctx, s)
	}
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	default:
	}
	if err := rt.Signal(ctx, a.ID, "SIGKILL"); err != nil {
		return err
	}
	w.waitOrLook(ctx, a.ID, s, killWait)
	return nil
}

// underway is how long a packet that was sent before everybody knew may take to come: on a machine with too much to do, the
// kernel gets to it late.
const underway = 100 * time.Millisecond

// waitDrained waits until nobody sends new connections to a pod that is being deleted: a program that is told to stop
// closes its listeners, and whoever still comes would be refused. A proxy that does not answer may take half of the grace
// period, so that the program has the other half.
func (w *worker) waitDrained(ctx context.Context, s *stopping, deadline time.Time) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	w.mu.Lock()
	until := w.whenDrained()
	w.mu.Unlock()
	select {
	case <-until:
		return // nobody sent to it to begin with
	default:
	}
	for {
		select {
		case <-until:
			until = nil
			timer.Reset(min(time.Until(deadline), underway))
			continue
		case <-s.ended:
		case <-s.sooner:
		case <-timer.C:
		case <-ctx.Done():
		}
		return
	}
}

// waitOrLook waits for a container's end and, when no event tells of it, asks the engine.
func (w *worker) waitOrLook(ctx context.Context, id string, s *stopping, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
		w.look(ctx, id)
	case <-ctx.Done():
	}
}

// waitEnd waits for a container's end, but no longer than its deadline, wherever that moves.
func (w *worker) waitEnd(ctx context.Context, s *stopping) {
	for {
		w.mu.Lock()
		left := time.Until(s.deadline)
		w.mu.Unlock()
		if left <= 0 {
			return
		}
		timer := time.NewTimer(left)
		select {
		case <-s.sooner:
			timer.Stop()
			continue
		case <-s.ended:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		return
	}
}

// preStop runs the container's hook within its grace period. A hook that fails does not keep the container alive.
func (w *worker) preStop(ctx context.Context, pod *corev1.Pod, a podstate.Action, s *stopping) {
	c := findContainer(pod, a.Name)
	if c == nil || c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return
	}
	hookCtx, cancel := context.WithTimeout(ctx, a.Grace)
	defer cancel()
	go func() {
		// The container may end by itself, or be given less time.
		select {
		case <-s.ended:
			cancel()
		case <-s.sooner:
			cancel()
		case <-hookCtx.Done():
		}
	}()
	if err := w.hook(hookCtx, c, a.ID, c.Lifecycle.PreStop); err != nil && ctx.Err() == nil {
		w.event(a.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: %v", err)
	}
}

// stopSignal is what the container was made with. mu must be held.
func (w *worker) stopSignal(a podstate.Action) string {
	for _, c := range w.obs.Containers[a.Name] {
		if c.ID == a.ID && c.StopSignal != "" {
			return c.StopSignal
		}
	}
	return "SIGTERM"
}
