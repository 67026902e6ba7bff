package pods

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
)

const (
	// MaxPerReconcile bounds what one reconcile of one owner creates or deletes, so that it ends well within its deadline.
	MaxPerReconcile = 500
	// maxParallel bounds the calls of one reconcile under way.
	maxParallel = 64
	// nameAttempts is how often a pod is tried under another random name.
	nameAttempts = 5
	confirmWait  = 2 * time.Second
)

// Control creates and deletes the pods of workload controllers and tells about it in events.
type Control struct {
	Client *client.Client
	Events *events.Recorder
	// Written is told of everything that was done.
	Written *informer.Written[*corev1.Pod]
	// Texts are the messages of events, DefaultTexts when nil.
	Texts *Texts
}

// Texts say in events what was done to a pod of an owner, or why it could not be.
type Texts struct {
	Created, CreateFailed, Deleted, DeleteFailed func(owner, pod string, err error) string
}

// DefaultTexts are what most controllers say.
var DefaultTexts = Texts{
	Created:      func(_, pod string, _ error) string { return "Created pod: " + pod },
	CreateFailed: func(_, _ string, err error) string { return "Error creating: " + err.Error() },
	Deleted:      func(_, pod string, _ error) string { return "Deleted pod: " + pod },
	DeleteFailed: func(_, _ string, err error) string { return "Error deleting: " + err.Error() },
}

func (c *Control) texts() *Texts {
	if c.Texts != nil {
		return c.Texts
	}
	return &DefaultTexts
}

// Create makes n pods for owner, the ith as build(i) says. It begins with one, then doubles: what fails for one (a quota, a bad template) is not
// tried for all. It returns how many it made and the first error. In a namespace that is being deleted it makes none,
// without an error.
func (c *Control) Create(ctx context.Context, owner client.Object, n int, build func(i int) (*corev1.Pod, error)) (int, error) {
	key := informer.KeyOf(owner)
	var made atomic.Int32
	err := slowStart(n, func(i int) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pod, err := build(i)
		if err != nil {
			return err
		}
		if err := c.create(ctx, pod); err != nil {
			if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				return errNamespaceGoes
			}
			c.Events.Event(owner, corev1.EventTypeWarning, "FailedCreate", "%s", c.texts().CreateFailed(owner.GetName(), pod.Name, err))
			return err
		}
		made.Add(1)
		c.Written.Stored(key, pod)
		c.Events.Event(owner, corev1.EventTypeNormal, "SuccessfulCreate", "%s", c.texts().Created(owner.GetName(), pod.Name, nil))
		return nil
	})
	if errors.Is(err, errNamespaceGoes) {
		err = nil
	}
	return int(made.Load()), err
}

// errNamespaceGoes stops a batch without being a failure: everything in the namespace is about to be deleted.
var errNamespaceGoes = errors.New("namespace is being deleted")

// create tries names, for a pod that has only the base of one, until one is free. When the outcome of a call is unknown it looks, so that a pod that was made
// after all is not made again.
func (c *Control) create(ctx context.Context, pod *corev1.Pod) error {
	base := pod.GenerateName
	if pod.Name != "" {
		base = ""
	}
	for n := 1; ; n++ {
		if base != "" {
			pod.Name = randomName(base)
		}
		err := c.Client.Create(ctx, pod)
		if apierrors.IsAlreadyExists(err) && base != "" && n < nameAttempts {
			continue
		}
		if err == nil || !unknownOutcome(err) {
			return err
		}
		return c.confirm(ctx, pod, err)
	}
}

func (c *Control) confirm(ctx context.Context, pod *corev1.Pod, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), confirmWait)
	defer cancel()
	found := &corev1.Pod{}
	if err := c.Client.Get(ctx, found, pod.Namespace, pod.Name); err != nil {
		return failure
	}
	want, have := metav1.GetControllerOfNoCopy(pod), metav1.GetControllerOfNoCopy(found)
	if want == nil || have == nil || want.UID != have.UID {
		return failure
	}
	*pod = *found
	return nil
}

// unknownOutcome tells failures after which the write may have happened all the same.
func unknownOutcome(err error) bool {
	return apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Generated names are the API's: five characters after a base that leaves room for them.
const (
	randomLength  = 5
	maxBaseLength = 63 - randomLength
)

func randomName(base string) string {
	if len(base) > maxBaseLength {
		base = base[:maxBaseLength]
	}
	return base + rand.String(randomLength)
}

// Delete deletes pods of owner, all at once but for the bound on calls under way. It returns the first error.
func (c *Control) Delete(ctx context.Context, owner client.Object, pods []*corev1.Pod) error {
	key := informer.KeyOf(owner)
	return parallel(len(pods), func(i int) error {
		pod := pods[i]
		err := c.Client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}, client.DeleteOptions{UID: pod.UID})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			return nil // gone already, or the name is another pod's
		case err != nil:
			c.Events.Event(owner, corev1.EventTypeWarning, "FailedDelete", "%s", c.texts().DeleteFailed(owner.GetName(), pod.Name, err))
			return fmt.Errorf("delete pod %s: %w", pod.Name, err)
		}
		c.Written.Deleted(key, pod)
		c.Events.Event(owner, corev1.EventTypeNormal, "SuccessfulDelete", "%s", c.texts().Deleted(owner.GetName(), pod.Name, nil))
		return nil
	})
}

// slowStart runs fn for 0…n-1 in batches of 1, 2, 4, …; after a batch with a failure it stops.
func slowStart(n int, fn func(i int) error) error {
	for done, size := 0, 1; done < n; size *= 2 {
		size = min(size, n-done)
		base := done
		if err := parallel(size, func(i int) error { return fn(base + i) }); err != nil {
			return err
		}
		done += size
	}
	return nil
}

// parallel runs fn for 0…n-1, a bounded number at a time, all of them, and returns the first error.
func parallel(n int, fn func(i int) error) error {
	if n == 1 {
		return fn(0)
	}
	var g errgroup.Group
	g.SetLimit(maxParallel)
	var once sync.Once
	var first error
	for i := range n {
		g.Go(func() error {
			if err := fn(i); err != nil {
				once.Do(func() { first = err })
			}
			return nil
		})
	}
	_ = g.Wait()
	return first
}
