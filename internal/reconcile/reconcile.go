// Package reconcile runs a controller: a queue of object names, workers, retries with backoff.
package reconcile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"

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
	figures figures

	mu sync.Mutex
	// started is when each key's last reconcile began, for EnqueueSoon; entries older than any gap are swept.
	started map[informer.Key]time.Time
	swept   time.Time
}

const (
	// callTimeout bounds one reconcile.
	callTimeout = 30 * time.Second
	minRetry    = 5 * time.Millisecond
	maxRetry    = time.Minute
	// maxGap bounds what EnqueueSoon remembers.
	maxGap = time.Second
)

// New returns a controller that runs r with the given number of workers. Enqueue may be called at once; Run starts
// the work.
func New(name string, workers int, r Reconciler, log *zap.Logger) *Controller {
	limiter := jitter{workqueue.NewTypedItemExponentialFailureRateLimiter[informer.Key](minRetry, maxRetry)}
	return &Controller{
		name: name, workers: workers, run: r, log: log.Named(name), started: map[informer.Key]time.Time{},
		queue:   workqueue.NewTypedRateLimitingQueue[informer.Key](limiter),
		figures: figures{added: map[informer.Key]time.Time{}},
	}
}

// jitter spreads retries, so that what failed together does not come back together.
type jitter struct {
	workqueue.TypedRateLimiter[informer.Key]
}

// When implements workqueue.TypedRateLimiter.
func (j jitter) When(key informer.Key) time.Duration {
	d := j.TypedRateLimiter.When(key)
	return d - d/4 + rand.N(d/2)
}

// Enqueue asks for key to be reconciled; a key that is waiting is not added twice.
func (c *Controller) Enqueue(key informer.Key) {
	c.figures.add(key)
	c.queue.Add(key)
}

// EnqueueAfter asks for key to be reconciled after d.
func (c *Controller) EnqueueAfter(key informer.Key, d time.Duration) { c.queue.AddAfter(key, d) }

// EnqueueSoon asks for key to be reconciled at once, but not before gap (at most a second) has passed since its last
// reconcile began: a lone change is handled without delay, a burst of changes in a few steps.
func (c *Controller) EnqueueSoon(key informer.Key, gap time.Duration) {
	c.mu.Lock()
	wait := min(gap, maxGap) - time.Since(c.started[key])
	c.mu.Unlock()
	c.queue.AddAfter(key, max(wait, 0))
}

// Run works until ctx ends; it returns when every worker has. What is still queued then is left.
func (c *Controller) Run(ctx context.Context) error {
	defer c.show()()
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
	if ctx.Err() != nil {
		return true
	}
	began := c.begin(key)
	c.figures.begin(key)
	after, err := c.guarded(ctx, key)
	c.figures.end(time.Since(began), err != nil && ctx.Err() == nil)
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
			c.log.Warn("reconcile failed, will retry", zap.Stringer("key", key), zap.Int("failures", c.queue.NumRequeues(key)+1), zap.Error(err))
		}
		c.queue.AddRateLimited(key)
	}
	return true
}

// guarded runs one reconcile under a deadline. A panic is an error of this key only: one odd object must not stop a
// whole cluster.
func (c *Controller) guarded(ctx context.Context, key informer.Key) (after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reconcile %s panicked: %v\n%s", key, p, debug.Stack())
		}
	}()
	return c.run(ctx, key)
}

func (c *Controller) begin(key informer.Key) (now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now = time.Now()
	c.started[key] = now
	if now.Sub(c.swept) < maxGap {
		return now
	}
	c.swept = now
	for k, at := range c.started {
		if now.Sub(at) > maxGap {
			delete(c.started, k)
		}
	}
	return now
}
