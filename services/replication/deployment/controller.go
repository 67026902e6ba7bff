// Package deployment rolls Deployments out: it makes, sizes and removes their ReplicaSets.
package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/replication/ownership"
	"karve.dev/karve/services/replication/pods"
	"karve.dev/karve/services/replication/revision"
)

const (
	workers = 8
	// gap spaces the reconciles that the status of ReplicaSets causes.
	gap = 50 * time.Millisecond
	// recheck is when to look again whether the informer shows the last writes, should no change say so.
	recheck = 100 * time.Millisecond
)

// Controller is the Deployment controller.
type Controller struct {
	client      *client.Client
	events      *events.Recorder
	deployments *informer.Informer[*appsv1.Deployment]
	sets        *informer.Informer[*appsv1.ReplicaSet]
	pods        *informer.Informer[*corev1.Pod]
	written     *informer.Written[*appsv1.ReplicaSet]
	queue       *reconcile.Controller
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("deployment-controller"), deployments: informer.For[*appsv1.Deployment](set),
		sets: informer.For[*appsv1.ReplicaSet](set), pods: informer.For[*corev1.Pod](set),
	}
	r.written = informer.NewWritten(r.sets)
	r.queue = reconcile.New("deployment", workers, r.reconcile, log)
	ownership.Track(r.sets)
	ownership.Track(r.pods)
	r.deployments.OnKey(r.queue.Enqueue)
	r.sets.OnChange(r.setChanged)
	r.pods.OnChange(r.podChanged)
	return r
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) setChanged(old, new *appsv1.ReplicaSet) {
	for _, rs := range []*appsv1.ReplicaSet{old, new} {
		if rs != nil {
			r.enqueueOwner(rs)
		}
	}
	if new == nil || new.DeletionTimestamp != nil || metav1.GetControllerOfNoCopy(new) != nil {
		return
	}
	for _, d := range r.deployments.List(new.Namespace, nil) {
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && selector.Matches(labels.Set(new.Labels)) {
			r.queue.EnqueueSoon(informer.KeyOf(d), gap)
		}
	}
}

func (r *Controller) enqueueOwner(rs *appsv1.ReplicaSet) {
	if ref := metav1.GetControllerOfNoCopy(rs); ref != nil && ref.Kind == "Deployment" {
		r.queue.EnqueueSoon(informer.Key{Namespace: rs.Namespace, Name: ref.Name}, gap)
	}
}

// podChanged wakes a Deployment that waits for its old pods to end.
func (r *Controller) podChanged(old, new *corev1.Pod) {
	if old == nil || new != nil && (!pods.Finished(new) || pods.Finished(old)) {
		return
	}
	ref := metav1.GetControllerOfNoCopy(old)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return
	}
	if rs, ok := r.sets.Get(old.Namespace, ref.Name); ok {
		r.enqueueOwner(rs)
	}
}

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	if !r.written.Shown(key) {
		return recheck, nil
	}
	d, ok := r.deployments.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	if selectsAll(d.Spec.Selector) {
		r.events.Event(d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		return 0, nil
	}
	sets, err := r.claim(ctx, key, d)
	if err != nil {
		return 0, err
	}
	p := makePlan(observed{deployment: d, sets: sets, running: r.hasRunning, now: time.Now()})
	err = r.carryOut(ctx, key, d, p)
	if errors.Is(err, errLater) {
		return recheck, nil
	}
	return p.after, err
}

func selectsAll(s *metav1.LabelSelector) bool {
	return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0
}

func (r *Controller) claim(ctx context.Context, key informer.Key, d *appsv1.Deployment) ([]*appsv1.ReplicaSet, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", key, err)
	}
	decision := ownership.Decide(d, selector, ownership.Controlled(r.sets, d.UID), ownership.Orphans(r.sets, d.Namespace))
	return ownership.Apply(ctx, r.client, d, decision, &appsv1.Deployment{}, func(rs *appsv1.ReplicaSet) { r.written.Stored(key, rs) })
}

func (r *Controller) hasRunning(set types.UID) bool {
	for _, p := range ownership.Controlled(r.pods, set) {
		if !pods.Finished(p) {
			return true
		}
	}
	return false
}

// carryOut writes a plan. What was written before a failure stands; the next reconcile goes on from there.
func (r *Controller) carryOut(ctx context.Context, key informer.Key, d *appsv1.Deployment, p plan) error {
	if p.create != nil {
		if err := r.create(ctx, key, d, p); err != nil {
			return err
		}
	}
	for _, c := range p.update {
		if err := r.client.Update(ctx, c.set); err != nil {
			return fmt.Errorf("update ReplicaSet %s: %w", c.set.Name, err)
		}
		r.wrote(key, d, c)
	}
	for _, rs := range p.remove {
		err := r.client.Delete(ctx, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: rs.Namespace, Name: rs.Name}}, client.DeleteOptions{UID: rs.UID})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete old ReplicaSet %s: %w", rs.Name, err)
		}
	}
	return r.writeStatus(ctx, p.deployment)
}

func (r *Controller) wrote(key informer.Key, d *appsv1.Deployment, c *change) {
	r.written.Stored(key, c.set)
	if c.event != "" {
		r.events.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", "%s", c.event)
	}
}

func (r *Controller) writeStatus(ctx context.Context, d *appsv1.Deployment) error {
	if d == nil {
		return nil
	}
	if err := r.client.UpdateStatus(ctx, d); err != nil {
		return fmt.Errorf("status of Deployment %s: %w", d.Name, err)
	}
	return nil
}

// errLater ends a reconcile that goes on once the informer shows more.
var errLater = errors.New("waiting for the informer")

// create makes the ReplicaSet of the current template. Its name follows from the template, so that it is not made
// twice; when another template has that name, the collision count changes it.
func (r *Controller) create(ctx context.Context, key informer.Key, d *appsv1.Deployment, p plan) error {
	err := r.client.Create(ctx, p.create.set)
	switch {
	case err == nil:
		r.wrote(key, d, p.create)
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.collide(ctx, key, d, p.create.set)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	}
	message := fmt.Sprintf("Failed to create new replica set %q: %v", p.create.set.Name, err)
	r.events.Event(d, corev1.EventTypeWarning, reasonCreateError, "%s", message)
	if failed := createFailed(d, message, time.Now()); failed != nil {
		if statusErr := r.writeStatus(ctx, failed); statusErr != nil {
			return errors.Join(err, statusErr)
		}
	}
	return fmt.Errorf("create ReplicaSet %s: %w", p.create.set.Name, err)
}

// collide tells the own ReplicaSet that the informer does not show yet from another of the same name.
func (r *Controller) collide(ctx context.Context, key informer.Key, d *appsv1.Deployment, wanted *appsv1.ReplicaSet) error {
	found := &appsv1.ReplicaSet{}
	if err := r.client.Get(ctx, found, wanted.Namespace, wanted.Name); err != nil {
		return fmt.Errorf("look at ReplicaSet %s: %w", wanted.Name, err)
	}
	if metav1.IsControlledBy(found, d) && equality.Semantic.DeepEqual(found.Spec.Template.Labels, wanted.Spec.Template.Labels) && sameTemplate(&found.Spec.Template, &d.Spec.Template) {
		r.written.Stored(key, found)
		return errLater
	}
	next := d.DeepCopy()
	next.Status.CollisionCount = revision.OneMore(d.Status.CollisionCount)
	if err := r.writeStatus(ctx, next); err != nil {
		return err
	}
	return errLater
}
