// Package replicaset keeps as many pods of each ReplicaSet as it asks for. Kinds that are ReplicaSets by another name
// (the ReplicationController) use it through a Kind.
package replicaset

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/replication/ownership"
	"karve.dev/karve/services/replication/pods"
)

const (
	workers = 8
	// gap spaces the reconciles that pods cause: while a thousand become ready, the status is written a few times.
	gap = 50 * time.Millisecond
	// recheck is when to look again whether the informer shows the last writes, should no change say so.
	recheck = 100 * time.Millisecond
)

// Controller is the controller of ReplicaSets, or of the kind T.
type Controller[T client.Object] struct {
	kind    Kind[T]
	client  *client.Client
	events  *events.Recorder
	sets    *informer.Informer[T]
	pods    *informer.Informer[*corev1.Pod]
	written *informer.Written[*corev1.Pod]
	control pods.Control
	queue   *reconcile.Controller
}

// New returns the controller of ReplicaSets. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller[*appsv1.ReplicaSet] {
	return NewFor(sets, c, set, recorder, log)
}

// NewFor returns the controller of another kind.
func NewFor[T client.Object](kind Kind[T], c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller[T] {
	r := &Controller[T]{
		kind: kind, client: c, events: recorder.As(kind.Component), sets: informer.For[T](set), pods: informer.For[*corev1.Pod](set),
	}
	r.written = informer.NewWritten(r.pods)
	r.control = pods.Control{Client: c, Events: r.events, Written: r.written}
	r.queue = reconcile.New(kind.Component, workers, r.reconcile, log)
	ownership.Track(r.pods)
	ownership.Track(r.sets)
	r.sets.OnKey(r.queue.Enqueue)
	r.pods.OnChange(r.podChanged)
	return r
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller[T]) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller[T]) podChanged(old, new *corev1.Pod) {
	if !pods.Changed(old, new) {
		return
	}
	selector := func(owner T) *metav1.LabelSelector { return r.kind.AsSet(owner).Spec.Selector }
	for _, key := range ownership.Concerned(old, new, r.kind.Name, r.sets, selector) {
		r.queue.EnqueueSoon(key, gap)
	}
}

func (r *Controller[T]) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	if !r.written.Shown(key) {
		return recheck, nil
	}
	owner, ok := r.sets.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	rs := r.kind.AsSet(owner)
	own, err := r.claim(ctx, key, owner, rs.Spec.Selector)
	if err != nil {
		return 0, err
	}
	done, failure := r.act(ctx, owner, rs, plan(rs, own, r.related(rs, own), time.Now()))
	if failure == nil && done > 0 {
		// The informer will show the pods in a moment; only then is there a status worth writing.
		return recheck, nil
	}
	after, err := r.writeStatus(ctx, owner, rs, own, failure)
	if failure != nil {
		return 0, failure
	}
	return after, err
}

// claim returns the pods that belong to owner.
func (r *Controller[T]) claim(ctx context.Context, key informer.Key, owner T, labels *metav1.LabelSelector) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(labels)
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", key, err)
	}
	decision := ownership.Decide(owner, selector, ownership.Controlled(r.pods, owner.GetUID()), ownership.Orphans(r.pods, key.Namespace))
	return ownership.Apply(ctx, r.client, owner, decision, r.kind.New(), func(p *corev1.Pod) { r.written.Stored(key, p) })
}

// related returns the pods of all sets that have the same controller as rs.
func (r *Controller[T]) related(rs *appsv1.ReplicaSet, own []*corev1.Pod) []*corev1.Pod {
	app := metav1.GetControllerOfNoCopy(rs)
	if app == nil {
		return own
	}
	all := slices.Clip(own)
	for _, sibling := range ownership.Controlled(r.sets, app.UID) {
		if uid := sibling.GetUID(); uid != rs.UID {
			all = append(all, ownership.Controlled(r.pods, uid)...)
		}
	}
	return all
}

func (r *Controller[T]) act(ctx context.Context, owner T, rs *appsv1.ReplicaSet, next steps) (done int, err error) {
	if next.create > 0 {
		return r.control.Create(ctx, owner, next.create, func(int) (*corev1.Pod, error) {
			return pods.FromTemplate(owner, &rs.Spec.Template)
		})
	}
	return len(next.remove), r.control.Delete(ctx, owner, next.remove)
}

func (r *Controller[T]) writeStatus(ctx context.Context, owner T, rs *appsv1.ReplicaSet, own []*corev1.Pod, failure error) (time.Duration, error) {
	status, after := statusOf(rs, own, failure, time.Now())
	if !r.kind.Terminating {
		status.TerminatingReplicas = nil
	}
	if sameStatus(status, rs.Status) {
		return after, nil
	}
	update := owner.DeepCopyObject().(T)
	r.kind.SetStatus(update, status)
	if err := r.client.UpdateStatus(ctx, update); err != nil {
		return 0, fmt.Errorf("status of %s %s: %w", r.kind.Name, rs.Name, err)
	}
	return after, nil
}
