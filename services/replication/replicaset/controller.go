// Package replicaset keeps as many pods of each ReplicaSet as it asks for.
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
	"k8s.io/apimachinery/pkg/labels"

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

// Controller is the ReplicaSet controller.
type Controller struct {
	client  *client.Client
	events  *events.Recorder
	sets    *informer.Informer[*appsv1.ReplicaSet]
	pods    *informer.Informer[*corev1.Pod]
	written *informer.Written[*corev1.Pod]
	control pods.Control
	queue   *reconcile.Controller
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("replicaset-controller"),
		sets: informer.For[*appsv1.ReplicaSet](set), pods: informer.For[*corev1.Pod](set),
	}
	r.written = informer.NewWritten(r.pods)
	r.control = pods.Control{Client: c, Events: r.events, Written: r.written}
	r.queue = reconcile.New("replicaset", workers, r.reconcile, log)
	ownership.Track(r.pods)
	ownership.Track(r.sets)
	r.sets.OnChange(func(old, new *appsv1.ReplicaSet) {
		if new == nil {
			new = old
		}
		r.queue.Enqueue(informer.KeyOf(new))
	})
	r.pods.OnChange(r.podChanged)
	return r
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) podChanged(old, new *corev1.Pod) {
	if !pods.Changed(old, new) {
		return
	}
	for _, p := range []*corev1.Pod{old, new} {
		if p == nil {
			continue
		}
		if ref := metav1.GetControllerOfNoCopy(p); ref != nil && ref.Kind == "ReplicaSet" {
			r.queue.EnqueueSoon(informer.Key{Namespace: p.Namespace, Name: ref.Name}, gap)
		}
	}
	if new != nil && new.DeletionTimestamp == nil && metav1.GetControllerOfNoCopy(new) == nil && len(new.Labels) > 0 {
		r.orphanChanged(new)
	}
}

// orphanChanged wakes the ReplicaSets that may adopt a pod without a controller.
func (r *Controller) orphanChanged(p *corev1.Pod) {
	for _, rs := range r.sets.List(p.Namespace, nil) {
		selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(p.Labels)) {
			r.queue.EnqueueSoon(informer.KeyOf(rs), gap)
		}
	}
}

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	if !r.written.Shown(key) {
		return recheck, nil
	}
	rs, ok := r.sets.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	own, err := r.claim(ctx, key, rs)
	if err != nil {
		return 0, err
	}
	done, failure := r.act(ctx, rs, plan(rs, own, r.related(rs, own), time.Now()))
	if failure == nil && done > 0 {
		// The informer will show the pods in a moment; only then is there a status worth writing.
		return recheck, nil
	}
	after, err := r.writeStatus(ctx, rs, own, failure)
	if failure != nil {
		return 0, failure
	}
	return after, err
}

// claim returns the pods that belong to rs.
func (r *Controller) claim(ctx context.Context, key informer.Key, rs *appsv1.ReplicaSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", key, err)
	}
	decision := ownership.Decide(rs, selector, ownership.Controlled(r.pods, rs.UID), ownership.Orphans(r.pods, rs.Namespace))
	return ownership.Apply(ctx, r.client, rs, decision, &appsv1.ReplicaSet{}, func(p *corev1.Pod) { r.written.Stored(key, p) })
}

// related returns the pods of all ReplicaSets that have the same controller as rs.
func (r *Controller) related(rs *appsv1.ReplicaSet, own []*corev1.Pod) []*corev1.Pod {
	owner := metav1.GetControllerOfNoCopy(rs)
	if owner == nil {
		return own
	}
	all := slices.Clip(own)
	for _, sibling := range ownership.Controlled(r.sets, owner.UID) {
		if sibling.UID != rs.UID {
			all = append(all, ownership.Controlled(r.pods, sibling.UID)...)
		}
	}
	return all
}

func (r *Controller) act(ctx context.Context, rs *appsv1.ReplicaSet, next steps) (done int, err error) {
	if next.create > 0 {
		return r.control.Create(ctx, rs, next.create, func() (*corev1.Pod, error) {
			return pods.FromTemplate(rs, &rs.Spec.Template)
		})
	}
	return len(next.remove), r.control.Delete(ctx, rs, next.remove)
}

func (r *Controller) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, own []*corev1.Pod, failure error) (time.Duration, error) {
	status, after := statusOf(rs, own, failure, time.Now())
	if sameStatus(status, rs.Status) {
		return after, nil
	}
	update := rs.DeepCopy()
	update.Status = status
	if err := r.client.UpdateStatus(ctx, update); err != nil {
		return 0, fmt.Errorf("status of ReplicaSet %s: %w", rs.Name, err)
	}
	return after, nil
}
