package worker

import (
	"hash/maphash"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/runtime"
)

// A node that pretends forgets its quiet pods: all that is kept of one is what the control plane would tell an agent that
// starts anew, and it is taken up again in the same way. So thousands of nodes find room on one machine.

// settle is how long a pod must be quiet before it is forgotten.
const settle = 5 * time.Second

// rest puts a pod to sleep that is quiet for long enough, and returns when to look again. It is a turn's end.
func (w *worker) rest(now time.Time) time.Time {
	p := w.pool
	if !p.cfg.Sleep {
		return time.Time{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.quiet() || w.task.Woken():
		w.since = time.Time{}
		return time.Time{}
	case w.since.IsZero():
		w.since = now
	}
	if due := w.since.Add(settle); now.Before(due) {
		return due
	}
	pod := *w.pod
	pod.Status = w.obs.Previous
	data, err := pod.Marshal()
	if err != nil {
		w.log().Error("encode a pod", zap.Error(err))
		return time.Time{}
	}
	w.closed = true
	if delete(p.workers, w.uid); len(p.workers) == 0 {
		p.workers = map[types.UID]*worker{} // maps do not shrink
	}
	p.asleep = append(p.asleep, data)
	return time.Time{}
}

// quiet tells whether nothing is known of a pod that an agent that starts anew would not find out. mu must be held.
func (w *worker) quiet() bool {
	o := &w.obs
	nothing := len(o.Busy)+len(o.Trouble)+len(o.Health)+len(o.Amounts)+len(o.HookErrors)+len(w.failures)+len(w.stops) == 0
	return nothing && w.reported != 0 && w.held.IsZero() && o.Held == nil && o.Ending == nil && !o.Gone &&
		w.pod.DeletionTimestamp == nil && o.Previous.Phase == corev1.PodRunning
}

// lock takes mu, and wakes the pods that sleep.
func (p *Pool) lock() {
	p.mu.Lock()
	if len(p.asleep) == 0 {
		return
	}
	containers, err := p.cfg.Runtime.List(p.cfg.Turns.Context(), p.cfg.Owner)
	if err != nil {
		return // one that pretends fails only when all ends
	}
	byPod := map[types.UID][]runtime.Container{}
	for _, c := range containers {
		byPod[types.UID(c.UID)] = append(byPod[types.UID(c.UID)], c)
	}
	for _, data := range p.asleep {
		pod := &corev1.Pod{}
		if err := pod.Unmarshal(data); err != nil {
			p.cfg.Log.Error("decode a pod", zap.Error(err))
			continue
		}
		w := newWorker(p, pod)
		if status, err := pod.Status.Marshal(); err == nil {
			w.reported = digest(status)
		}
		p.workers[w.uid] = w
		w.adopt(byPod[w.uid], nil)
		w.task.Start()
	}
	p.asleep = nil
}

// digest tells statuses apart; it is never 0.
func digest(status []byte) uint64 { return max(maphash.Bytes(digestSeed, status), 1) }
