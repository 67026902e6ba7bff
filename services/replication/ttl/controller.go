// Package ttl deletes Jobs some time after they have finished, as their ttlSecondsAfterFinished says.
package ttl

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

const workers = 2

// Controller deletes finished Jobs.
type Controller struct {
	client *client.Client
	jobs   *informer.Informer[*batchv1.Job]
	queue  *reconcile.Controller
}

// New returns the controller. It registers with the informer, which must not run yet.
func New(c *client.Client, set *informer.Set, log *zap.Logger) *Controller {
	r := &Controller{client: c, jobs: informer.For[*batchv1.Job](set)}
	r.queue = reconcile.New("ttl-after-finished-controller", workers, r.reconcile, log)
	r.jobs.OnChange(func(_, new *batchv1.Job) {
		if new == nil {
			return
		}
		if _, ok := expiry(new); ok {
			r.queue.Enqueue(informer.KeyOf(new))
		}
	})
	return r
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	job, ok := r.jobs.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	at, ok := expiry(job)
	if !ok {
		return 0, nil
	}
	if wait := time.Until(at); wait > 0 {
		return wait, nil
	}
	// The revision guards against a time to live that was changed a moment ago.
	err := r.client.Delete(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: job.Name}}, client.DeleteOptions{
		UID: job.UID, ResourceVersion: job.ResourceVersion, Propagation: metav1.DeletePropagationForeground,
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("delete finished job %s: %w", key, err)
	}
	return 0, nil
}
