// Package cronjob starts a Job of each CronJob whenever its schedule says so. Between the runs nothing happens: the next
// one is waited for.
package cronjob

import (
	"context"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/replication/job"
	"karve.dev/karve/services/replication/ownership"
)

const (
	workers = 4
	recheck = 100 * time.Millisecond
)

// Controller is the CronJob controller.
type Controller struct {
	client *client.Client
	events *events.Recorder
	crons  *informer.Informer[*batchv1.CronJob]
	jobs   *informer.Informer[*batchv1.Job]
	// written and noted hold a CronJob up until its informers show its last run.
	written *informer.Written[*batchv1.Job]
	noted   *informer.Written[*batchv1.CronJob]
	queue   *reconcile.Controller
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("cronjob-controller"),
		crons: informer.For[*batchv1.CronJob](set), jobs: informer.For[*batchv1.Job](set),
	}
	r.written, r.noted = informer.NewWritten(r.jobs), informer.NewWritten(r.crons)
	r.queue = reconcile.New("cronjob-controller", workers, r.reconcile, log)
	ownership.Track(r.jobs)
	r.crons.OnChange(func(_, new *batchv1.CronJob) {
		if new != nil {
			r.queue.Enqueue(informer.KeyOf(new))
		}
	})
	r.jobs.OnChange(r.jobChanged)
	return r
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

// jobChanged wakes a job's CronJob when the job comes, ends or goes.
func (r *Controller) jobChanged(old, new *batchv1.Job) {
	if old != nil && new != nil && (job.Finished(old) == nil) == (job.Finished(new) == nil) {
		return
	}
	if key, ok := ownership.OwnerOf(informer.Newest(old, new), "CronJob"); ok {
		r.queue.Enqueue(key)
	}
}

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	if !r.written.Shown(key) || !r.noted.Shown(key) {
		return recheck, nil
	}
	cj, ok := r.crons.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	p := makePlan(observed{cron: cj, jobs: ownership.Controlled(r.jobs, cj.UID), now: time.Now()})
	return p.after, r.act(ctx, key, cj, p)
}

func (r *Controller) act(ctx context.Context, key informer.Key, cj *batchv1.CronJob, p plan) error {
	for _, j := range append(p.replaced, p.expired...) {
		if err := r.remove(ctx, key, cj, j); err != nil {
			return err
		}
	}
	var failure error
	if !p.start.IsZero() {
		failure = r.start(ctx, key, cj, &p)
	}
	if err := r.writeStatus(ctx, key, cj, p.status); err != nil {
		return err
	}
	for _, e := range p.events {
		r.events.Event(cj, e.kind, e.reason, "%s", e.message)
	}
	return failure
}

func (r *Controller) remove(ctx context.Context, key informer.Key, cj *batchv1.CronJob, j *batchv1.Job) error {
	target := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: j.Namespace, Name: j.Name}}
	err := r.client.Delete(ctx, target, client.DeleteOptions{UID: j.UID, Propagation: metav1.DeletePropagationBackground})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil
	case err != nil:
		r.events.Event(cj, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
		return fmt.Errorf("delete job %s: %w", j.Name, err)
	}
	r.written.Deleted(key, j)
	r.events.Event(cj, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", j.Name)
	return nil
}

// start makes the job of the run that is due and enters it into the plan's status. Where the job is there already, made
// by a controller that could not write the status any more, only that is done.
func (r *Controller) start(ctx context.Context, key informer.Key, cj *batchv1.CronJob, p *plan) error {
	j, err := newJob(cj, p.start)
	if err != nil {
		return err
	}
	err = r.client.Create(ctx, j)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err):
		name := j.Name
		if err := r.client.Get(ctx, j, cj.Namespace, name); err != nil {
			return fmt.Errorf("job %s exists but: %w", name, err)
		}
		if !metav1.IsControlledBy(j, cj) {
			r.events.Event(cj, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
			return nil // the run is lost; the next one has another name
		}
	case err != nil:
		r.events.Event(cj, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
		return fmt.Errorf("create job %s: %w", j.Name, err)
	default:
		r.events.Event(cj, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", j.Name)
	}
	r.written.Stored(key, j)
	ref, err := events.Ref(j)
	if err != nil {
		return err
	}
	if job.Finished(j) != nil {
		p.status.LastScheduleTime = &metav1.Time{Time: p.start}
		return nil
	}
	p.started(ref, p.start)
	return nil
}

// newJob returns the job of one run. Its annotation tells the time in the CronJob's own time zone.
func newJob(cj *batchv1.CronJob, due time.Time) (*batchv1.Job, error) {
	ref, err := ownership.Reference(cj)
	if err != nil {
		return nil, err
	}
	if z := cj.Spec.TimeZone; z != nil {
		zone, err := time.LoadLocation(*z)
		if err != nil {
			return nil, fmt.Errorf("time zone of CronJob %s: %w", cj.Name, err)
		}
		due = due.In(zone)
	}
	template := &cj.Spec.JobTemplate
	annotations := maps.Clone(template.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = due.Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cj.Namespace, Name: jobName(cj, due), Labels: maps.Clone(template.Labels), Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{ref},
		},
		Spec: *template.Spec.DeepCopy(),
	}, nil
}

func (r *Controller) writeStatus(ctx context.Context, key informer.Key, cj *batchv1.CronJob, status batchv1.CronJobStatus) error {
	if equality.Semantic.DeepEqual(cj.Status, status) {
		return nil
	}
	update := cj.DeepCopy()
	update.Status = status
	if err := r.client.UpdateStatus(ctx, update); err != nil {
		return fmt.Errorf("status of CronJob %s: %w", cj.Name, err)
	}
	r.noted.Stored(key, update)
	return nil
}
