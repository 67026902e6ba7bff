// Package podgc removes pods that no node will ever finish: those of nodes that are gone, and the oldest of those that
// ended long ago.
package podgc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

const (
	// Quarantine is how long a node may be missing before its pods are taken for lost: a Node object that is made anew
	// keeps them.
	Quarantine = 40 * time.Second
	// Threshold is how many terminated pods are kept.
	Threshold = 12500
	// sweep spaces the looks at all pods.
	sweep = 20 * time.Second
)

// everywhere is the key of what concerns no node.
var everywhere = informer.Key{}

// Controller is the collector of pods.
type Controller struct {
	client *client.Client
	pods   *informer.Informer[*corev1.Pod]
	nodes  *informer.Informer[*corev1.Node]
	queue  *reconcile.Controller
	log    *zap.Logger
}

// New returns a controller; the set may not run yet.
func New(c *client.Client, set *informer.Set, log *zap.Logger) *Controller {
	out := &Controller{client: c, pods: informer.For[*corev1.Pod](set), nodes: informer.For[*corev1.Node](set), log: log.Named("podgc")}
	out.queue = reconcile.New("podgc", 1, out.reconcile, log)
	out.nodes.OnChange(func(old, now *corev1.Node) {
		switch {
		case now == nil:
			out.queue.EnqueueAfter(informer.KeyOf(old), Quarantine)
		case outOfService(now):
			out.queue.Enqueue(informer.KeyOf(now))
		}
	})
	out.pods.OnChange(func(_, now *corev1.Pod) {
		if now == nil {
			return
		}
		if stranded(now) {
			out.queue.Enqueue(everywhere)
		}
		if node := now.Spec.NodeName; node != "" && now.DeletionTimestamp != nil {
			out.observeTerminating(node)
		}
	})
	return out
}

func (c *Controller) observeTerminating(node string) {
	n, ok := c.nodes.Get("", node)
	switch {
	case !ok:
		c.queue.EnqueueAfter(informer.Key{Name: node}, Quarantine)
	case outOfService(n):
		c.queue.Enqueue(informer.Key{Name: node})
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.queue.EnqueueAfter(everywhere, sweep)
	return c.queue.Run(ctx)
}

func (c *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	if key != everywhere {
		return 0, c.collectNode(ctx, key.Name)
	}
	pods := c.pods.List("", nil)
	var errs []error
	missing := map[string]bool{}
	for _, p := range pods {
		if stranded(p) {
			errs = append(errs, c.remove(ctx, p, "pod was being deleted and had no node"))
		}
		if node := p.Spec.NodeName; node != "" && !missing[node] && !removed(p) {
			if _, ok := c.nodes.Get("", node); !ok {
				missing[node] = true
			}
		}
	}
	for node := range missing {
		c.queue.EnqueueAfter(informer.Key{Name: node}, Quarantine)
	}
	for _, p := range surplus(pods, Threshold) {
		errs = append(errs, c.remove(ctx, p, "too many terminated pods"))
	}
	return sweep, errors.Join(errs...)
}

// collectNode removes the pods of a node that is gone, and the terminating ones of a node that is out of service.
func (c *Controller) collectNode(ctx context.Context, node string) error {
	n, known := c.nodes.Get("", node)
	gone := false
	if !known {
		err := c.client.Get(ctx, &corev1.Node{}, "", node)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("look for node %s: %w", node, err)
		}
		gone = err != nil
	}
	if !gone && (n == nil || !outOfService(n)) {
		return nil
	}
	var errs []error
	for _, p := range c.pods.List("", nil) {
		switch {
		case p.Spec.NodeName != node || removed(p):
		case gone:
			errs = append(errs, c.remove(ctx, p, "node no longer exists"))
		case p.DeletionTimestamp != nil:
			errs = append(errs, c.remove(ctx, p, "node is out of service"))
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) remove(ctx context.Context, p *corev1.Pod, why string) error {
	c.log.Info("removing pod", zap.String("pod", informer.KeyOf(p).String()), zap.String("reason", why))
	if out, changed := failed(p, why); changed {
		if err := c.client.UpdateStatus(ctx, out); err != nil && !apierrors.IsConflict(err) {
			return ignoreGone(err)
		}
	}
	now := int64(0)
	err := c.client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}, client.DeleteOptions{GracePeriodSeconds: &now, UID: p.UID})
	if err = ignoreGone(err); err != nil {
		return fmt.Errorf("remove pod %s: %w", informer.KeyOf(p), err)
	}
	return nil
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
