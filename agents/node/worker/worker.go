package worker

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/volume"
	"karve.dev/karve/internal/turns"
)

// worker keeps one pod. Everything that is known lies under mu; whoever learns something new puts it there and kicks
// it, so that it decides anew in a turn. What takes time runs in operations, and not in a turn; only the last one waits.
type worker struct {
	pool      *Pool
	namespace string
	name      string
	uid       types.UID
	task      turns.Task
	waits     bool // it does not start yet; under the pool's lock
	ops       sync.WaitGroup

	mu      sync.Mutex
	pod     *corev1.Pod
	obs     podstate.Observed
	sandbox *pendingSandbox
	address netip.Addr
	aborts  map[string]context.CancelFunc
	stops   map[string]*stopping
	short   map[string]bool // containers in which memory was short, by ID
	// failures counts the failures in a row of a container name, for its back-off.
	failures map[string]int
	reported uint64        // the digest of the status that was; 0 to report it in any case
	born     time.Time     // when the pod was first seen; zero once it has been reported running
	held     time.Time     // since when a status that can wait has not been reported
	since    time.Time     // when a pod that may sleep became quiet; of the turns
	hadOne   bool          // a sandbox existed before
	stale    bool          // volumes need a refresh
	closed   bool          // no operation begins any more
	resizing *int64        // the pod's generation that is being resized to, if any; only the loop's
	stopped  chan struct{} // closed when the pod has ended as the node wanted; nil: it did not
	// drained is closed when nobody sends new connections to the terminating pod; made by whenDrained.
	drained chan struct{}
	ports   publishing
	// mountSaid is what was last said about volumes that could not be made, mountSaidAt when.
	mountSaid   string
	mountSaidAt time.Time

	preparing sync.Mutex // held while volumes are made
	prepared  *volume.Prepared
	released  bool                // what is mounted has been taken away, as the pod has ended; under mu
	layers    map[string][]string // of the pod's image volumes; under preparing
}

func newWorker(p *Pool, pod *corev1.Pod) *worker {
	w := &worker{
		pool: p, namespace: pod.Namespace, name: pod.Name, uid: pod.UID, pod: pod,
		obs: podstate.Observed{
			Previous: *pod.Status.DeepCopy(), HostIPs: p.cfg.HostIPs, RecursiveReadOnly: volume.RecursiveReadOnlyPossible(),
		},
	}
	w.task.Init(p.cfg.Turns, w.turn)
	if pod.Status.Phase == "" || pod.Status.Phase == corev1.PodPending {
		w.born = time.Now()
	}
	return w
}

func (w *worker) log() *zap.Logger {
	return w.pool.cfg.Log.With(zap.String("pod", w.namespace+"/"+w.name))
}

// put makes a map when something is put into it: most of a quiet pod's are empty.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

// kick has the worker decide anew.
func (w *worker) kick() { w.task.Wake() }

// life ends with the agent. Calls to the engine are made with it, not with an operation's own context: cutting one off
// would leave it open whether the engine goes on.
func (w *worker) life() context.Context { return w.pool.cfg.Turns.Context() }

func (w *worker) setPod(pod *corev1.Pod) {
	w.mu.Lock()
	// Labels and annotations may stand in a downwardAPI volume.
	w.stale = w.stale || !maps.Equal(w.pod.Labels, pod.Labels) || !maps.Equal(w.pod.Annotations, pod.Annotations)
	w.pod = pod
	w.forgetOtherImages()
	w.obs.Gone = false
	// Others may have written conditions that are the node's to decide, as while it was thought dead: say it again.
	if drifted(&pod.Status, &w.obs.Previous) {
		w.reported = 0
	}
	w.mu.Unlock()
	w.kick()
}

// setDrained lets the pod's containers be told to stop.
func (w *worker) setDrained() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.whenDrained():
	default:
		close(w.drained)
	}
}

// whenDrained returns what setDrained closes. mu must be held.
func (w *worker) whenDrained() chan struct{} {
	if w.drained == nil {
		w.drained = make(chan struct{})
	}
	return w.drained
}

func (w *worker) setGone() {
	w.mu.Lock()
	w.obs.Gone = true
	w.mu.Unlock()
	w.kick()
}

func (w *worker) isGone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.obs.Gone
}

func (w *worker) resend() {
	w.mu.Lock()
	w.reported = 0
	w.mu.Unlock()
	w.kick()
}

func (w *worker) refreshVolumes() {
	w.mu.Lock()
	w.stale = true
	w.mu.Unlock()
	w.kick()
}

// retry lets actions that failed for one of the reasons be tried at once.
func (w *worker) retry(reasons map[string]bool) {
	w.mu.Lock()
	for name, t := range w.obs.Trouble {
		if reasons[t.Reason] {
			t.RetryAt = time.Time{}
			w.obs.Trouble[name] = t
		}
	}
	w.mu.Unlock()
	w.kick()
}

// turn decides and acts, and returns when to do so again if nothing happens before.
func (w *worker) turn(ctx context.Context) time.Time {
	w.mu.Lock()
	finished := w.closed
	w.mu.Unlock()
	if finished {
		return time.Time{} // a late kick
	}
	w.weighResize()
	wake, done := w.step(ctx, time.Now())
	switch {
	case !done && wake.IsZero():
		return w.rest(time.Now())
	case !done:
		return wake
	case w.finish():
		return time.Time{}
	}
	return time.Now().Add(retryDelay(3))
}

// close waits for what is under way; nothing begins any more.
func (w *worker) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.ops.Wait()
}

// reopen takes close back.
func (w *worker) reopen() {
	w.mu.Lock()
	w.closed = false
	w.mu.Unlock()
}

// step makes one decision and sets its actions going.
func (w *worker) step(ctx context.Context, now time.Time) (wake time.Time, done bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.softenPullErrors(now)
	plan := podstate.Next(w.pod, &w.obs, now)
	for _, a := range plan.Actions {
		w.begin(ctx, a)
	}
	status := podstate.Status(w.pod, &w.obs, now)
	w.backOffEvents(&status)
	w.deadlineEvent(&status)
	w.obs.Previous = status
	w.report(&status, now, false)
	ended := len(w.obs.Sandboxes) == 0 && (status.Phase == corev1.PodFailed || status.Phase == corev1.PodSucceeded)
	if ended {
		w.releaseVolumes(ctx)
	}
	_, releasing := w.obs.Busy[volumesOp]
	w.tellStopped(plan.Done || ended && !releasing)
	w.keepVolumesFresh(ctx, now)
	w.keepPorts(ctx, now)
	wake = plan.Wake
	for _, at := range []time.Time{w.refreshAt(), w.softenAt(), w.reportAt(), w.portsAt(), w.roomAt(now)} {
		if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
			wake = at
		}
	}
	return wake, plan.Done
}

// finish removes what the pod had on the node and reports its end; false to try again.
func (w *worker) finish() bool {
	w.close()
	w.mu.Lock()
	still := podstate.Next(w.pod, &w.obs, time.Now()).Done
	w.mu.Unlock()
	if !still {
		w.reopen() // something has turned up at the last moment
		w.kick()
		return false
	}
	w.takePortsBack()
	if err := errors.Join(w.unmount(), w.pool.cfg.Volumes.Teardown(string(w.uid))); err != nil {
		w.log().Warn("remove the pod's files", zap.Error(err))
		w.reopen()
		return false
	}
	if err := w.pool.cfg.Logs.RemovePod(&runtime.Meta{Namespace: w.namespace, Pod: w.name, UID: string(w.uid)}); err != nil {
		w.log().Warn("links to logs stay", zap.Error(err))
	}
	w.mu.Lock()
	if w.address.IsValid() {
		w.pool.cfg.Network.Release(w.address, string(w.uid))
		w.address = netip.Addr{}
	}
	status := w.obs.Previous
	w.report(&status, time.Now(), true)
	w.mu.Unlock()
	w.pool.forget(w)
	return true
}

// ref is the reference of events about a container.
func (w *worker) ref(container string) corev1.ObjectReference {
	ref := corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: w.namespace, Name: w.name, UID: w.uid, ResourceVersion: w.pod.ResourceVersion}
	if container != "" {
		field := "containers"
		for i := range w.pod.Spec.InitContainers {
			if w.pod.Spec.InitContainers[i].Name == container {
				field = "initContainers"
			}
		}
		for i := range w.pod.Spec.EphemeralContainers {
			if w.pod.Spec.EphemeralContainers[i].Name == container {
				field = "ephemeralContainers"
			}
		}
		ref.FieldPath = "spec." + field + "{" + container + "}"
	}
	return ref
}

// event records an event about the pod or one of its containers. mu must not be held.
func (w *worker) event(container, eventType, reason, format string, args ...any) {
	w.mu.Lock()
	ref := w.ref(container)
	w.mu.Unlock()
	w.pool.cfg.Events.EventOn(ref, eventType, reason, format, args...)
}
