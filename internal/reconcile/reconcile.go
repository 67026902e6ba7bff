// Package reconcile runs a controller: a queue of object names, workers, retries with backoff.
package reconcile

import (
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/util/workqueue"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/informer"
)

// Reconciler brings the object of one key to its desired state. It reads what is, never what happened; the same key
// is never reconciled by two workers at once. After returns the time until the key should be looked at again, 0 for
// only on change.
type Reconciler func(ctx context.Context, key informer.Key) (after time.Duration, err error)

// Controller feeds one Reconciler.
type Controller struct {
	name    string
	workers int
	run     Reconciler
	log     *zap.Logger
	queue   workqueue.TypedRateLimitingInterface[informer.Key]
}

// callTimeout bounds one reconcile.
const callTimeout = 30 * time.Second

// New returns a controller that runs r with the given number of workers. Enqueue may be called at once; Run starts
// the work.
func New(name string, workers int, r Reconciler, log *zap.Logger) *Controller {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[informer.Key](5*time.Millisecond, time.Minute)
	return &Controller{name: name, workers: workers, run: r, log: log.Named(name), queue: workqueue.NewTypedRateLimitingQueue(limiter)}
}

// Enqueue asks for key to be reconciled; a key that is waiting is not added twice.
func (c *Controller) Enqueue(key informer.Key) { c.queue.Add(key) }

// EnqueueAfter asks for key to be reconciled after d.
func (c *Controller) EnqueueAfter(key informer.Key, d time.Duration) { c.queue.AddAfter(key, d) }

// Run works until ctx ends; it returns when every worker has.
func (c *Controller) Run(ctx context.Context) error {
	var g errgroup.Group
	for range c.workers {
		g.Go(func() error {
			for c.next(ctx) {
			}
			return nil
		})
	}
	<-ctx.Done()
	c.queue.ShutDown()
	return g.Wait()
}

func (c *Controller) next(ctx context.Context) bool {
	key, quit := c.queue.Get()
	if quit {
		return false
	}
	defer c.queue.Done(key)
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	after, err := c.run(call, key)
	switch {
	case err == nil:
		c.queue.Forget(key)
		if after > 0 {
			c.queue.AddAfter(key, after)
		}
	case ctx.Err() != nil:
	default:
		// A conflict means that newer state is on its way: expected, and cured by trying again.
		if !apierrors.IsConflict(err) {
			c.log.Warn("reconcile failed, will retry", zap.Stringer("key", key), zap.Int("failures", c.queue.NumRequeues(key)), zap.Error(err))
		}
		c.queue.AddRateLimited(key)
	}
	return true
}
