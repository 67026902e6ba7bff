// Package statefulset runs pods that keep their name, their place in the order and their volumes.
package statefulset

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/replication/ownership"
	"karve.dev/karve/services/replication/pods"
	"karve.dev/karve/services/replication/revision"
)

const (
	workers = 4
	gap     = 50 * time.Millisecond
	recheck = 100 * time.Millisecond
	// revisionHash is the label of a ControllerRevision that holds its hash.
	revisionHash = "controller.kubernetes.io/hash"
)

// Controller is the StatefulSet controller.
type Controller struct {
	client    *client.Client
	events    *events.Recorder
	sets      *informer.Informer[*appsv1.StatefulSet]
	pods      *informer.Informer[*corev1.Pod]
	revisions *informer.Informer[*appsv1.ControllerRevision]
	written   *informer.Written[*corev1.Pod]
	noted     *informer.Written[*appsv1.ControllerRevision]
	control   pods.Control
	queue     *reconcile.Controller
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("statefulset-controller"), sets: informer.For[*appsv1.StatefulSet](set),
		pods: informer.For[*corev1.Pod](set), revisions: informer.For[*appsv1.ControllerRevision](set),
	}
	r.written, r.noted = informer.NewWritten(r.pods), informer.NewWritten(r.revisions)
	r.control = pods.Control{Client: c, Events: r.events, Written: r.written, Texts: &texts}
	r.queue = reconcile.New("statefulset-controller", workers, r.reconcile, log)
	ownership.Track(r.pods)
	ownership.Track(r.revisions)
	r.sets.OnKey(r.queue.Enqueue)
	r.pods.OnChange(r.podChanged)
	ownership.OnLoss(r.revisions, "StatefulSet", func(owner informer.Key) { r.queue.EnqueueSoon(owner, gap) })
	return r
}

var texts = pods.Texts{
	Created: func(set, pod string, _ error) string {
		return fmt.Sprintf("create Pod %s in StatefulSet %s successful", pod, set)
	},
	CreateFailed: func(set, pod string, err error) string {
		return fmt.Sprintf("create Pod %s in StatefulSet %s failed error: %v", pod, set, err)
	},
	Deleted: func(set, pod string, _ error) string {
		return fmt.Sprintf("delete Pod %s in StatefulSet %s successful", pod, set)
	},
	DeleteFailed: func(set, pod string, err error) string {
		return fmt.Sprintf("delete Pod %s in StatefulSet %s failed error: %v", pod, set, err)
	},
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) podChanged(old, new *corev1.Pod) {
	if !pods.Changed(old, new) {
		return
	}
	selector := func(s *appsv1.StatefulSet) *metav1.LabelSelector { return s.Spec.Selector }
	for _, key := range ownership.Concerned(old, new, "StatefulSet", r.sets, selector) {
		r.queue.EnqueueSoon(key, gap)
	}
}

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	if !r.written.Shown(key) || !r.noted.Shown(key) {
		return recheck, nil
	}
	set, ok := r.sets.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	own, err := r.claim(ctx, key, set)
	if err != nil {
		return 0, err
	}
	current, update, err := r.history(ctx, key, set, own)
	if errors.Is(err, revision.ErrCollision) {
		status := set.DeepCopy().Status
		status.CollisionCount = revision.OneMore(status.CollisionCount)
		return recheck, r.writeStatus(ctx, set, status)
	}
	if err != nil {
		return 0, err
	}
	p := makePlan(observed{set: set, pods: own, current: current, update: update, now: time.Now()})
	done, err := r.act(ctx, set, p)
	if err == nil && done > 0 {
		return recheck, nil
	}
	if statusErr := r.writeStatus(ctx, set, p.status); err == nil {
		err = statusErr
	}
	return p.after, err
}

// claim returns the pods that belong to the set; only pods with a name of the set are adopted.
func (r *Controller) claim(ctx context.Context, key informer.Key, set *appsv1.StatefulSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", key, err)
	}
	var named []*corev1.Pod
	for _, p := range ownership.Orphans(r.pods, set.Namespace) {
		if _, ok := ordinalOf(set, p.Name); ok {
			named = append(named, p)
		}
	}
	decision := ownership.Decide(set, selector, ownership.Controlled(r.pods, set.UID), named)
	return ownership.Apply(ctx, r.client, set, decision, &appsv1.StatefulSet{}, func(p *corev1.Pod) { r.written.Stored(key, p) })
}

// history returns the revisions before and after the update under way, the newest one written down if it is new.
func (r *Controller) history(ctx context.Context, key informer.Key, set *appsv1.StatefulSet, own []*corev1.Pod) (current, update *appsv1.ControllerRevision, err error) {
	existing := ownership.Controlled(r.revisions, set.UID)
	used := map[string]bool{set.Status.CurrentRevision: true, set.Status.UpdateRevision: true}
	for _, p := range own {
		used[p.Labels[revisionLabel]] = true
	}
	p, err := revision.MakePlan(revision.Workload{
		Owner: set, Template: &set.Spec.Template, HashLabel: revisionHash, Collisions: set.Status.CollisionCount, Limit: set.Spec.RevisionHistoryLimit,
	}, existing, used)
	if err != nil {
		return nil, nil, err
	}
	update, err = revision.Apply(ctx, r.client, p, func(rev *appsv1.ControllerRevision) { r.noted.Stored(key, rev) })
	if err != nil {
		return nil, nil, err
	}
	current = update
	for _, rev := range existing {
		if rev.Name == set.Status.CurrentRevision {
			current = rev
		}
	}
	return current, update, nil
}

func (r *Controller) act(ctx context.Context, set *appsv1.StatefulSet, p plan) (done int, err error) {
	if err := r.passOnClaims(ctx, set, p.surplus); err != nil {
		return 0, err
	}
	gone := append(append(p.ended, p.old...), p.surplus...)
	if err := r.control.Delete(ctx, set, gone); err != nil {
		return 0, err
	}
	n := min(len(p.create), pods.MaxPerReconcile)
	for _, c := range p.create[:n] {
		if err := r.makeClaims(ctx, set, podName(set, c.ordinal)); err != nil {
			return 0, err
		}
	}
	made, err := r.control.Create(ctx, set, n, func(i int) (*corev1.Pod, error) {
		return newPod(set, p.create[i].revision, p.create[i].ordinal)
	})
	return made + len(gone), err
}

func (r *Controller) writeStatus(ctx context.Context, set *appsv1.StatefulSet, status appsv1.StatefulSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	update := set.DeepCopy()
	update.Status = status
	if err := r.client.UpdateStatus(ctx, update); err != nil {
		return fmt.Errorf("status of StatefulSet %s: %w", set.Name, err)
	}
	return nil
}
