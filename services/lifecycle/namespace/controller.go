// Package namespace empties namespaces that are being deleted, and then lets them go.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/lifecycle/inventory"
)

const (
	workers = 4
	// gap spaces the looks at a namespace whose objects go one after the other.
	gap = 100 * time.Millisecond
	// recheck is when a namespace that is not empty is looked at without a change; its conditions then say why.
	recheck = 5 * time.Second
	// patience is how long a deletion may take before conditions are written: most are over sooner.
	patience = time.Second
)

// Controller deletes the content of terminating namespaces.
type Controller struct {
	client     *client.Client
	inventory  *inventory.Inventory
	namespaces *informer.Informer[*corev1.Namespace]
	queue      *reconcile.Controller
}

// New returns a controller; neither the inventory nor the set may run yet.
func New(c *client.Client, set *informer.Set, inv *inventory.Inventory, log *zap.Logger) *Controller {
	out := &Controller{client: c, inventory: inv, namespaces: informer.For[*corev1.Namespace](set)}
	out.queue = reconcile.New("namespace", workers, out.reconcile, log)
	out.namespaces.OnChange(func(_, now *corev1.Namespace) {
		if now != nil && now.DeletionTimestamp != nil {
			out.queue.Enqueue(informer.KeyOf(now))
		}
	})
	inv.OnChange(out.observe)
	return out
}

// observe wakes a terminating namespace when something in it has gone, or has come late.
func (c *Controller) observe(old, new *inventory.Object) {
	if old != nil && new != nil {
		return
	}
	namespace := ""
	if old != nil {
		namespace = old.Namespace
	} else {
		namespace = new.Namespace
	}
	if namespace == "" {
		return
	}
	if ns, ok := c.namespaces.Get("", namespace); ok && ns.DeletionTimestamp != nil {
		c.queue.EnqueueSoon(informer.Key{Name: namespace}, gap)
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.inventory.WaitSynced(ctx); err != nil {
		return nil
	}
	return c.queue.Run(ctx)
}

func (c *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	ns, ok := c.namespaces.Get("", key.Name)
	if !ok || ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return 0, nil
	}
	content := c.inventory.Content(ns.Name)
	if len(content) == 0 {
		// The inventory may be behind, and leaves out Events: only the API can say that nothing is left.
		left, err := c.deleteUnknown(ctx, ns.Name)
		if err != nil {
			return 0, err
		}
		if !left {
			return 0, c.finalize(ctx, ns)
		}
		return gap, nil
	}
	var failed []error
	for _, kind := range next(content) {
		if err := c.deleteAll(ctx, kind, ns.Name); err != nil {
			failed = append(failed, fmt.Errorf("delete all %s of namespace %s: %w", kind.Resource, ns.Name, err))
		}
	}
	if wait := patience - time.Since(ns.DeletionTimestamp.Time); wait > 0 {
		return wait, errors.Join(failed...)
	}
	if err := c.explain(ctx, ns, failed); err != nil {
		failed = append(failed, err)
	}
	return recheck, errors.Join(failed...)
}

// deleteUnknown asks the API for each kind whether the namespace has any, and deletes what it finds.
func (c *Controller) deleteUnknown(ctx context.Context, namespace string) (left bool, err error) {
	for _, kind := range c.inventory.Kinds() {
		if !kind.Namespaced || !kind.List || !kind.Delete && !kind.DeleteCollection {
			continue
		}
		found, err := c.inventory.List(ctx, kind, namespace, 1)
		if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			continue
		}
		if err != nil {
			return true, fmt.Errorf("look for %s in namespace %s: %w", kind.Resource, namespace, err)
		}
		if len(found) == 0 {
			continue
		}
		left = true
		if err := c.deleteAll(ctx, kind, namespace); err != nil {
			return true, fmt.Errorf("delete all %s of namespace %s: %w", kind.Resource, namespace, err)
		}
	}
	return left, nil
}

func (c *Controller) deleteAll(ctx context.Context, kind *inventory.Kind, namespace string) error {
	if kind.DeleteCollection {
		return c.inventory.DeleteAll(ctx, kind, namespace)
	}
	items, err := c.inventory.List(ctx, kind, namespace, 0)
	if err != nil {
		return err
	}
	for _, item := range items {
		obj := &inventory.Object{Kind: kind, Namespace: namespace, Name: item.Name, UID: string(item.UID)}
		if err := c.inventory.Delete(ctx, obj, metav1.DeletePropagationBackground, ""); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// explain writes into the namespace's conditions what it waits for.
func (c *Controller) explain(ctx context.Context, ns *corev1.Namespace, failed []error) error {
	r := remains{content: map[string]int{}, finalizers: map[string]int{}}
	for _, err := range failed {
		r.failures = append(r.failures, err.Error())
	}
	for _, o := range c.inventory.In(ns.Name) {
		r.content[resourceName(o.Kind)]++
		for _, f := range o.Finalizers {
			r.finalizers[f]++
		}
	}
	out := ns.DeepCopy()
	if !setConditions(&out.Status, r, metav1.Now()) {
		return nil
	}
	if err := c.client.UpdateStatus(ctx, out); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write the conditions of namespace %s: %w", ns.Name, err)
	}
	return nil
}

// finalize takes the finalizer off that kept the empty namespace.
func (c *Controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	out := ns.DeepCopy()
	out.Spec.Finalizers = slices.DeleteFunc(out.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if err := c.inventory.UpdateSubresource(ctx, out, "finalize"); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("let go of namespace %s: %w", ns.Name, err)
	}
	return nil
}
