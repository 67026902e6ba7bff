// Package serviceaccount keeps the ServiceAccount "default" in every namespace, for pods that name none.
package serviceaccount

import (
	"context"
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
	workers     = 2
	defaultName = "default"
)

// Controller makes default service accounts.
type Controller struct {
	client     *client.Client
	namespaces *informer.Informer[*corev1.Namespace]
	accounts   *informer.Informer[*corev1.ServiceAccount]
	queue      *reconcile.Controller
}

// New returns a controller; the set may not run yet.
func New(c *client.Client, set *informer.Set, log *zap.Logger) *Controller {
	out := &Controller{client: c, namespaces: informer.For[*corev1.Namespace](set), accounts: informer.For[*corev1.ServiceAccount](set)}
	out.queue = reconcile.New("serviceaccount", workers, out.reconcile, log)
	out.namespaces.OnChange(func(_, now *corev1.Namespace) {
		if now != nil {
			out.queue.Enqueue(informer.KeyOf(now))
		}
	})
	out.accounts.OnChange(func(old, now *corev1.ServiceAccount) {
		if now == nil && old.Name == defaultName {
			out.queue.Enqueue(informer.Key{Name: old.Namespace})
		}
	})
	return out
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.queue.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	ns, ok := c.namespaces.Get("", key.Name)
	if !ok || ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return 0, nil
	}
	if _, ok := c.accounts.Get(key.Name, defaultName); ok {
		return 0, nil
	}
	err := c.client.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: key.Name, Name: defaultName}})
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("make the default service account of namespace %s: %w", key.Name, err)
	}
	return 0, nil
}
