// Package job runs the pods of each Job until it has what it is for, and counts every pod exactly once.
package job

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/replication/ownership"
	"karve.dev/karve/services/replication/pods"
)

const (
	workers = 8
	// gap spaces the reconciles that pods cause: while a thousand end, the status is written a few times.
	gap     = 50 * time.Millisecond
	recheck = 100 * time.Millisecond
	kind    = "Job"
)

// Controller is the Job controller.
type Controller struct {
	client *client.Client
	events *events.Recorder
	jobs   *informer.Informer[*batchv1.Job]
	pods   *informer.Informer[*corev1.Pod]
	// written and noted hold a job up until its informers show what was done last: a plan on older state would count
	// a pod twice or replace one that has succeeded.
	written *informer.Written[*corev1.Pod]
	noted   *informer.Written[*batchv1.Job]
	control pods.Control
	queue   *reconcile.Controller

	mu       sync.Mutex
	failures map[informer.Key]memory
}

// memory is what is remembered of a job's failures.
type memory struct {
	uid types.UID
	failures
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("job-controller"), jobs: informer.For[*batchv1.Job](set), pods: informer.For[*corev1.Pod](set),
		failures: map[informer.Key]memory{},
	}
	r.written, r.noted = informer.NewWritten(r.pods), informer.NewWritten(r.jobs)
	r.control = pods.Control{Client: c, Events: r.events, Written: r.written}
	r.queue = reconcile.New("job-controller", workers, r.reconcile, log)
	ownership.Track(r.pods)
	r.pods.AddIndex(trackedIndex, trackedBy)
	r.jobs.OnKey(r.queue.Enqueue)
	r.pods.OnChange(r.podChanged)
	return r
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

// owner returns the job that a pod's controller reference names.
func owner(p *corev1.Pod) (informer.Key, types.UID, bool) {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil || ref.Kind != kind || ref.APIVersion != batchv1.SchemeGroupVersion.String() {
		return informer.Key{}, "", false
	}
	return informer.Key{Namespace: p.Namespace, Name: ref.Name}, ref.UID, true
}

func (r *Controller) podChanged(old, new *corev1.Pod) {
	if !pods.Changed(old, new) && tracked(old) == tracked(new) && restarts(old) == restarts(new) {
		return
	}
	for _, p := range []*corev1.Pod{old, new} {
		if p == nil {
			continue
		}
		if key, _, ok := owner(p); ok {
			r.queue.EnqueueSoon(key, gap)
		}
	}
	if new == nil || metav1.GetControllerOfNoCopy(new) != nil {
		return
	}
	if tracked(new) {
		r.queue.EnqueueSoon(informer.Key{Namespace: new.Namespace}, gap)
	}
	for _, job := range r.jobs.List(new.Namespace, nil) {
		if mayHave(job, new) {
			r.queue.EnqueueSoon(informer.KeyOf(job), gap)
		}
	}
}

// mayHave says that a job would adopt a pod that has no controller.
func mayHave(job *batchv1.Job, p *corev1.Pod) bool {
	if len(p.Labels) == 0 || p.DeletionTimestamp != nil || job.DeletionTimestamp != nil || Finished(job) != nil || !ours(job) {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	return err == nil && selector.Matches(labels.Set(p.Labels))
}

// ours says that the job is not another controller's.
func ours(job *batchv1.Job) bool {
	return job.Spec.ManagedBy == nil || *job.Spec.ManagedBy == batchv1.JobControllerName
}

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	if !r.written.Shown(key) || !r.noted.Shown(key) {
		return recheck, nil
	}
	job, ok := r.jobs.Get(key.Namespace, key.Name)
	if ok && !ours(job) {
		return 0, nil
	}
	if err := r.releaseStrays(ctx, key, job); err != nil {
		return 0, err
	}
	if !ok || Finished(job) != nil {
		r.forget(key)
		return 0, nil
	}
	own, err := r.claim(ctx, key, job)
	if err != nil {
		return 0, err
	}
	p := makePlan(observed{job: job, pods: own, failures: r.remembered(key, job.UID), now: time.Now()})
	return p.after, r.act(ctx, key, job, p)
}

func (r *Controller) claim(ctx context.Context, key informer.Key, job *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", key, err)
	}
	decision := ownership.Decide(job, selector, ownership.Controlled(r.pods, job.UID), ownership.Orphans(r.pods, job.Namespace))
	decision.Finalizer = batchv1.JobTrackingFinalizer
	return ownership.Apply(ctx, r.client, job, decision, &batchv1.Job{}, func(p *corev1.Pod) { r.written.Stored(key, p) })
}

func (r *Controller) act(ctx context.Context, key informer.Key, job *batchv1.Job, p plan) error {
	if err := r.release(ctx, key, p.discard); err != nil {
		return err
	}
	if err := r.control.Delete(ctx, job, append(p.discard, p.stop...)); err != nil {
		return err
	}
	made, failure := r.control.Create(ctx, job, len(p.create), func(i int) (*corev1.Pod, error) { return newPod(job, p.create[i]) })
	p.status.Active += int32(made)
	if err := r.writeStatus(ctx, key, job, p.status); err != nil {
		return err
	}
	r.remember(key, memory{job.UID, p.failures})
	for _, e := range p.events {
		r.events.Event(job, e.kind, e.reason, "%s", e.message)
	}
	if err := r.release(ctx, key, p.release); err != nil {
		return err
	}
	return failure
}

func (r *Controller) writeStatus(ctx context.Context, key informer.Key, job *batchv1.Job, status batchv1.JobStatus) error {
	if equality.Semantic.DeepEqual(job.Status, status) {
		return nil
	}
	update := job.DeepCopy()
	update.Status = status
	if err := r.client.UpdateStatus(ctx, update); err != nil {
		return fmt.Errorf("status of Job %s: %w", job.Name, err)
	}
	r.noted.Stored(key, update)
	return nil
}

func (r *Controller) remembered(key informer.Key, uid types.UID) *failures {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.failures[key]
	if !ok || m.uid != uid {
		return nil
	}
	return &m.failures
}

func (r *Controller) remember(key informer.Key, m memory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[key] = m
}

func (r *Controller) forget(key informer.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failures, key)
}
