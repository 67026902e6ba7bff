// Package daemonset runs one pod of each DaemonSet on every node that it is for.
package daemonset

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"

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
	// Pods that fail again and again are replaced ever more slowly.
	minFailureDelay = time.Second
	maxFailureDelay = 15 * time.Minute
)

// Controller is the DaemonSet controller.
type Controller struct {
	client    *client.Client
	events    *events.Recorder
	sets      *informer.Informer[*appsv1.DaemonSet]
	pods      *informer.Informer[*corev1.Pod]
	nodes     *informer.Informer[*corev1.Node]
	revisions *informer.Informer[*appsv1.ControllerRevision]
	written   *informer.Written[*corev1.Pod]
	noted     *informer.Written[*appsv1.ControllerRevision]
	control   pods.Control
	failures  *flowcontrol.Backoff
	queue     *reconcile.Controller
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("daemonset-controller"),
		sets: informer.For[*appsv1.DaemonSet](set), pods: informer.For[*corev1.Pod](set), nodes: informer.For[*corev1.Node](set),
		revisions: informer.For[*appsv1.ControllerRevision](set), failures: flowcontrol.NewBackOff(minFailureDelay, maxFailureDelay),
	}
	r.written, r.noted = informer.NewWritten(r.pods), informer.NewWritten(r.revisions)
	r.control = pods.Control{Client: c, Events: r.events, Written: r.written}
	r.queue = reconcile.New("daemonset-controller", workers, r.reconcile, log)
	ownership.Track(r.pods)
	ownership.Track(r.revisions)
	r.sets.OnKey(r.queue.Enqueue)
	r.pods.OnChange(r.podChanged)
	r.nodes.OnChange(r.nodeChanged)
	ownership.OnLoss(r.revisions, "DaemonSet", func(owner informer.Key) { r.queue.EnqueueSoon(owner, gap) })
	return r
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) podChanged(old, new *corev1.Pod) {
	if !pods.Changed(old, new) && old.Spec.NodeName == new.Spec.NodeName {
		return
	}
	selector := func(s *appsv1.DaemonSet) *metav1.LabelSelector { return s.Spec.Selector }
	for _, key := range ownership.Concerned(old, new, "DaemonSet", r.sets, selector) {
		r.queue.EnqueueSoon(key, gap)
	}
}

// nodeChanged looks at every set: where a node's labels or taints change, any may begin or cease to want it.
func (r *Controller) nodeChanged(old, new *corev1.Node) {
	if old != nil && new != nil && equality.Semantic.DeepEqual(old.Labels, new.Labels) && equality.Semantic.DeepEqual(old.Spec.Taints, new.Spec.Taints) {
		return
	}
	for _, ds := range r.sets.List("", nil) {
		r.queue.EnqueueSoon(informer.KeyOf(ds), gap)
	}
}

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	if !r.written.Shown(key) || !r.noted.Shown(key) {
		return recheck, nil
	}
	ds, ok := r.sets.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	own, err := r.claim(ctx, key, ds)
	if err != nil {
		return 0, err
	}
	current, err := r.history(ctx, key, ds, own)
	if errors.Is(err, revision.ErrCollision) {
		return recheck, r.raiseCollisions(ctx, ds)
	}
	if err != nil {
		return 0, err
	}
	o := observed{set: ds, nodes: r.nodes.List("", nil), pods: own, hash: current.Labels[hashLabel], now: time.Now()}
	p := makePlan(o)
	wait := r.holdBack(&p)
	done, err := r.act(ctx, ds, o.hash, p)
	if err == nil && done > 0 {
		return recheck, nil
	}
	if statusErr := r.writeStatus(ctx, ds, p.status); err == nil {
		err = statusErr
	}
	return soonest(p.after, wait), err
}

func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

func (r *Controller) claim(ctx context.Context, key informer.Key, ds *appsv1.DaemonSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", key, err)
	}
	decision := ownership.Decide(ds, selector, ownership.Controlled(r.pods, ds.UID), ownership.Orphans(r.pods, ds.Namespace))
	return ownership.Apply(ctx, r.client, ds, decision, &appsv1.DaemonSet{}, func(p *corev1.Pod) { r.written.Stored(key, p) })
}

// history returns the revision of the set's template, written down if it is new.
func (r *Controller) history(ctx context.Context, key informer.Key, ds *appsv1.DaemonSet, own []*corev1.Pod) (*appsv1.ControllerRevision, error) {
	existing := ownership.Controlled(r.revisions, ds.UID)
	hashes := map[string]bool{}
	for _, p := range own {
		hashes[p.Labels[hashLabel]] = true
	}
	used := map[string]bool{}
	for _, rev := range existing {
		used[rev.Name] = hashes[rev.Labels[hashLabel]]
	}
	p, err := revision.MakePlan(revision.Workload{
		Owner: ds, Template: &ds.Spec.Template, HashLabel: hashLabel, Collisions: ds.Status.CollisionCount, Limit: ds.Spec.RevisionHistoryLimit,
	}, existing, used)
	if err != nil {
		return nil, err
	}
	return revision.Apply(ctx, r.client, p, func(rev *appsv1.ControllerRevision) { r.noted.Stored(key, rev) })
}

func (r *Controller) raiseCollisions(ctx context.Context, ds *appsv1.DaemonSet) error {
	status := ds.DeepCopy().Status
	status.CollisionCount = revision.OneMore(status.CollisionCount)
	return r.writeStatus(ctx, ds, status)
}

// holdBack leaves out failed pods whose place has failed too often of late, and returns when their time comes.
func (r *Controller) holdBack(p *plan) (wait time.Duration) {
	var due []*corev1.Pod
	now := time.Now()
	for _, pod := range p.failed {
		id := strings.Join([]string{string(metav1.GetControllerOfNoCopy(pod).UID), nodeOf(pod)}, "/")
		if r.failures.IsInBackOffSinceUpdate(id, now) {
			wait = soonest(wait, r.failures.Get(id))
			continue
		}
		r.failures.Next(id, now)
		due = append(due, pod)
	}
	p.failed = due
	r.failures.GC()
	return wait
}

func (r *Controller) act(ctx context.Context, ds *appsv1.DaemonSet, hash string, p plan) (done int, err error) {
	for _, pod := range p.failed {
		r.events.Event(ds, corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, nodeOf(pod))
	}
	for _, pod := range p.finished {
		r.events.Event(ds, corev1.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, nodeOf(pod))
	}
	gone := append(append(p.failed, p.finished...), p.surplus...)
	if len(gone) > pods.MaxPerReconcile {
		gone = gone[:pods.MaxPerReconcile]
	}
	if err := r.control.Delete(ctx, ds, gone); err != nil {
		return 0, err
	}
	n := min(len(p.create), pods.MaxPerReconcile)
	made, err := r.control.Create(ctx, ds, n, func(i int) (*corev1.Pod, error) { return newPod(ds, hash, p.create[i]) })
	return made + len(gone), err
}

func newPod(ds *appsv1.DaemonSet, hash, node string) (*corev1.Pod, error) {
	p, err := pods.FromTemplate(ds, &ds.Spec.Template)
	if err != nil {
		return nil, err
	}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[hashLabel] = hash
	if generation := ds.Annotations[appsv1.DeprecatedTemplateGeneration]; generation != "" {
		p.Labels["pod-template-generation"] = generation
	}
	p.Spec.Tolerations = tolerations(&p.Spec)
	pinTo(&p.Spec, node)
	return p, nil
}

func (r *Controller) writeStatus(ctx context.Context, ds *appsv1.DaemonSet, status appsv1.DaemonSetStatus) error {
	if equality.Semantic.DeepEqual(ds.Status, status) {
		return nil
	}
	update := ds.DeepCopy()
	update.Status = status
	if err := r.client.UpdateStatus(ctx, update); err != nil {
		return fmt.Errorf("status of DaemonSet %s: %w", ds.Name, err)
	}
	return nil
}
