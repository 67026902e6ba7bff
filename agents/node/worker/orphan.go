package worker

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/runtime"
)

// endOrphans gives the containers of pods that are gone a worker that ends them, and has files swept away.
func (p *Pool) endOrphans() {
	if !p.synced || !p.adopted {
		return
	}
	for uid, containers := range p.found {
		w := newWorker(p, orphan(containers[0].Meta))
		w.adopt(containers, nil)
		w.setGone()
		p.workers[uid] = w
		delete(p.found, uid)
	}
	for uid := range p.late {
		p.lookAtLate(uid)
	}
	if !p.sweeper.Started() {
		p.sweeper.Start()
		return
	}
	p.sweeper.Wake()
}

// sweep removes the files of pods that are gone. That takes time: what lies there may be large, or on a server that does not
// answer.
func (p *Pool) sweep(context.Context) time.Time {
	known := func(uid string) bool {
		p.lock()
		defer p.mu.Unlock()
		return p.workers[types.UID(uid)] != nil
	}
	if err := p.cfg.Volumes.Sweep(known); err != nil {
		p.cfg.Log.Warn("sweep volumes", zap.Error(err))
	}
	return time.Time{}
}

// preceded tells whether a pod must wait, because something is left of an earlier one of its name: one that was deleted by
// force, and made again, has the same volumes. mu must be held.
func (p *Pool) preceded(w *worker) bool {
	if w.isGone() {
		return false
	}
	var before types.UID
	for uid, other := range p.workers {
		if uid != w.uid && other.name == w.name && other.namespace == w.namespace && other.isGone() {
			before = uid
		}
	}
	for uid, containers := range p.found {
		if m := containers[0].Meta; uid != w.uid && m.Pod == w.name && m.Namespace == w.namespace {
			before = uid
		}
	}
	if before != "" && !w.waits {
		w.waits = true
		p.cfg.Events.EventOn(w.ref(""), corev1.EventTypeNormal, "Waiting", "Waiting for the earlier pod of this name (%s) to end", before)
	}
	return before != ""
}

// orphan makes up the pod of a container from its labels.
func orphan(meta runtime.Meta) *corev1.Pod {
	grace := int64(meta.Grace / time.Second)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: meta.Pod, UID: types.UID(meta.UID)},
		Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: &grace},
	}
}

// Handle takes a change on the engine.
func (p *Pool) Handle(ev runtime.Event) {
	if ev.Kind == runtime.ImageChanged {
		p.cfg.Images.Forget()
		p.each(func(w *worker) { w.retry(imageTrouble) })
		return
	}
	p.lock()
	defer p.mu.Unlock()
	uid := types.UID(ev.Meta.UID)
	w := p.workers[uid]
	if w != nil && w.handle(ev) {
		return
	}
	settled := p.synced && p.adopted
	if appeared := ev.Kind == runtime.ContainerCreated || ev.Kind == runtime.ContainerStarted; settled && !appeared {
		return // the end of what has been ended
	}
	if !slices.Contains(p.late[uid], ev.ID) {
		p.late[uid] = append(p.late[uid], ev.ID)
	}
	if settled && w == nil {
		p.lookAtLate(uid)
	}
}

// lookAtLate looks at the containers that events have told of while there was no worker to take them: of a pod that
// has one now, or of one that is gone. In the latter case they were begun by an agent that was cut off, and completed
// by the engine afterwards: they are ended. mu must be held.
func (p *Pool) lookAtLate(uid types.UID) {
	ids := p.late[uid]
	delete(p.late, uid)
	w := p.workers[uid]
	for _, id := range ids {
		if w != nil && w.lookLater(id) {
			continue
		}
		p.cfg.Turns.Go(func(ctx context.Context) { p.endLatecomer(ctx, id) })
	}
}

func (p *Pool) endLatecomer(ctx context.Context, id string) {
	c, err := p.cfg.Runtime.Inspect(ctx, id)
	if err != nil {
		return // removed meanwhile, or listed again once the engine answers
	}
	p.lock()
	defer p.mu.Unlock()
	if p.workers[types.UID(c.UID)] == nil {
		p.found[types.UID(c.UID)] = []runtime.Container{c}
		p.endOrphans()
		p.startAll()
	}
}
