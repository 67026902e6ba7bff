package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/admit"
	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/runtime"
)

const resizeError = "ResizeError"

// roomAgain is how soon it is looked again for the room that a resize waits for: other pods end, or are given less.
const roomAgain = 5 * time.Second

// beginResize gives a running container other amounts of cpu and memory. mu must be held.
func (w *worker) beginResize(ctx context.Context, a podstate.Action) {
	pod := w.pod
	c := findContainer(pod, a.Name)
	resizer, ok := w.pool.cfg.Runtime.(runtime.Resizer)
	if c == nil || !ok {
		return
	}
	running := *w.obs.Latest(a.Name)
	w.launch(ctx, a.Name, podstate.Op{Verb: podstate.Resize}, func(context.Context) {
		key, to := podstate.ResizeKey(a.Name), w.pool.resources(pod, c)
		if err := tooSmall(&running, to.MemoryBytes); err != nil {
			w.refuseResize(key, pod, err)
			return
		}
		if err := resizer.Resize(w.life(), a.ID, to); err != nil {
			w.refuseResize(key, pod, err)
			return
		}
		w.mu.Lock()
		w.fine(key)
		put(&w.obs.Amounts, a.ID, podstate.Amounts(c))
		w.mu.Unlock()
	})
}

func (w *worker) refuseResize(key string, pod *corev1.Pod, why error) {
	w.fail(key, resizeError, why.Error(), retryDelay)
	w.event("", corev1.EventTypeWarning, resizeError, "%s", resizeMessage("error", pod, why.Error()))
}

// weighResize decides whether the node has room for what the pod asks for now. It is called without mu: it looks at the
// other pods, too.
func (w *worker) weighResize() {
	w.mu.Lock()
	pod, resizes, was := w.pod, podstate.Resizes(w.pod, &w.obs), w.obs.Held
	w.mu.Unlock()
	var held *podstate.Held
	if resizes {
		w.pool.weighing.Lock()
		defer w.pool.weighing.Unlock()
		held = w.pool.room(pod)
	}
	w.tellResize(pod, resizes, held)
	if held == nil && was == nil || held != nil && was != nil && *held == *was {
		return
	}
	w.mu.Lock()
	w.obs.Held = held
	w.mu.Unlock()
	if held != nil {
		w.event("", corev1.EventTypeWarning, "Resize"+held.Reason, "%s", resizeMessage(held.Lack, pod, held.Message))
	}
}

// kickHeld lets resizes that wait for room be weighed again.
func (w *worker) kickHeld() {
	w.mu.Lock()
	held := w.obs.Held != nil
	w.mu.Unlock()
	if held {
		w.kick()
	}
}

// roomAt is when to look again for the room that a resize waits for. mu must be held.
func (w *worker) roomAt(now time.Time) time.Time {
	if w.obs.Held == nil || w.obs.Held.Reason != corev1.PodReasonDeferred {
		return time.Time{}
	}
	return now.Add(roomAgain)
}

// room says why a pod's requests do not fit the node beside those of the other pods; nil when they do.
func (p *Pool) room(pod *corev1.Pod) *podstate.Held {
	p.lock()
	others := slices.DeleteFunc(p.present(), func(other *corev1.Pod) bool { return other.UID == pod.UID })
	p.mu.Unlock()
	switch lack := admit.FirstLack(pod, p.cfg.Allocatable, others); {
	case lack == nil:
		return nil
	case lack.Requested > lack.Capacity:
		return &podstate.Held{Reason: corev1.PodReasonInfeasible, Lack: corev1.PodReasonInfeasible, Message: fmt.Sprintf(
			"Node didn't have enough capacity: %s, requested: %d, capacity: %d", lack.Name, lack.Requested, lack.Capacity)}
	default:
		return &podstate.Held{Reason: corev1.PodReasonDeferred, Lack: "OutOf" + string(lack.Name), Message: lack.String()}
	}
}
