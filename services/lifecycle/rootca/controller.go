// Package rootca publishes the cluster's CA certificate as the ConfigMap kube-root-ca.crt in every namespace, where
// the volumes with service-account tokens take it from.
package rootca

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

const (
	workers = 2
	// Name of the ConfigMap and Key of the certificate in it.
	Name = "kube-root-ca.crt"
	Key  = "ca.crt"

	descriptionKey = "kubernetes.io/description"
	description    = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."

	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Controller publishes one CA.
type Controller struct {
	client     *client.Client
	want       map[string]string
	namespaces *informer.Informer[*corev1.Namespace]
	queue      *reconcile.Controller
	log        *zap.Logger

	mu sync.Mutex
	// good are the namespaces whose ConfigMap is as it should be.
	good map[string]bool
}

// New returns a controller that publishes ca (PEM); the set may not run yet.
func New(c *client.Client, set *informer.Set, ca []byte, log *zap.Logger) *Controller {
	out := &Controller{client: c, want: map[string]string{Key: string(ca)}, namespaces: informer.For[*corev1.Namespace](set), log: log.Named("rootca"), good: map[string]bool{}}
	out.queue = reconcile.New("rootca", workers, out.reconcile, log)
	out.namespaces.OnChange(func(old, now *corev1.Namespace) {
		if now != nil {
			out.queue.Enqueue(informer.KeyOf(now))
		} else {
			out.mark(old.Name, false)
		}
	})
	return out
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { c.follow(ctx); return nil })
	g.Go(func() error { return c.queue.Run(ctx) })
	return g.Wait()
}

func (c *Controller) mark(namespace string, good bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if good {
		c.good[namespace] = true
	} else {
		delete(c.good, namespace)
	}
}

// follow watches just the ConfigMaps of this name: a cluster's others are nobody's business here. It keeps none, so
// after a break it begins with all of them again.
func (c *Controller) follow(ctx context.Context) {
	for backoff := minBackoff; ctx.Err() == nil; backoff = min(backoff*2, maxBackoff) {
		started := time.Now()
		err := c.watch(ctx)
		if time.Since(started) > maxBackoff {
			backoff = minBackoff
		}
		if ctx.Err() == nil {
			c.log.Debug("watch ended, starting over", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff/2 + rand.N(backoff)):
		}
	}
}

func (c *Controller) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := c.client.Watch(ctx, &corev1.ConfigMap{}, client.ListOptions{FieldSelector: "metadata.name=" + Name}, "")
	if err != nil {
		return err
	}
	for {
		ev, err := w.Next()
		if err != nil {
			return err
		}
		if ev.GetType() == apiv1.WatchEvent_TYPE_BOOKMARK {
			continue
		}
		cm := &corev1.ConfigMap{}
		if err := client.Decode(ev.GetObject(), cm); err != nil {
			return err
		}
		good := ev.GetType() != apiv1.WatchEvent_TYPE_DELETED && maps.Equal(cm.Data, c.want)
		c.mark(cm.Namespace, good)
		if !good {
			c.queue.Enqueue(informer.Key{Name: cm.Namespace})
		}
	}
}

func (c *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	ns, ok := c.namespaces.Get("", key.Name)
	c.mu.Lock()
	good := c.good[key.Name]
	c.mu.Unlock()
	if !ok || good || ns.DeletionTimestamp != nil {
		return 0, nil
	}
	err := c.publish(ctx, key.Name)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return 0, fmt.Errorf("publish the CA in namespace %s: %w", key.Name, err)
	}
	return 0, nil
}

func (c *Controller) publish(ctx context.Context, namespace string) error {
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: Name, Annotations: map[string]string{descriptionKey: description}},
		Data:       c.want,
	}
	err := c.client.Create(ctx, cm)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := c.client.Get(ctx, cm, namespace, Name); err != nil || maps.Equal(cm.Data, c.want) {
		return err
	}
	cm.Data, cm.BinaryData = c.want, nil
	return c.client.Update(ctx, cm)
}
