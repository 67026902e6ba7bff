// Package nodedns names the nodes' DNS servers in an EndpointSlice of the Service kube-dns, for those who look for the
// cluster's DNS there. A Service that somebody has given a selector has pods of its own, and no such slice.
package nodedns

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/clusterdns"
	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

// settle gathers what happens to nodes in one write.
const settle = time.Second

// key is that of the Service and of the slice.
var key = informer.Key{Namespace: metav1.NamespaceSystem, Name: clusterdns.Service}

// Controller keeps the slice.
type Controller struct {
	client   *client.Client
	services *informer.Informer[*corev1.Service]
	slices   *informer.Informer[*discoveryv1.EndpointSlice]
	nodes    *informer.Informer[*corev1.Node]
	queue    *reconcile.Controller
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, services: informer.For[*corev1.Service](set), slices: informer.For[*discoveryv1.EndpointSlice](set), nodes: informer.For[*corev1.Node](set),
	}
	r.queue = reconcile.New("node-dns", 1, r.reconcile, log)
	for _, onKey := range []func(func(informer.Key)){r.services.OnKey, r.slices.OnKey} {
		onKey(func(k informer.Key) {
			if k == key {
				r.queue.Enqueue(k)
			}
		})
	}
	r.nodes.OnChange(func(old, node *corev1.Node) {
		if old == nil || node == nil || old.Spec.PodCIDR != node.Spec.PodCIDR || conditions.NodeReady(old) != conditions.NodeReady(node) {
			r.queue.EnqueueSoon(key, settle)
		}
	})
	return r
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) reconcile(ctx context.Context, _ informer.Key) (time.Duration, error) {
	have, _ := r.slices.Get(key.Namespace, key.Name)
	if have != nil && have.Labels[discoveryv1.LabelManagedBy] != clusterdns.ManagedBy {
		return 0, nil // somebody else's
	}
	service, _ := r.services.Get(key.Namespace, key.Name)
	want := plan(service, r.nodes.List("", nil))
	var err error
	switch {
	case want == nil && have == nil:
	case want == nil:
		err = r.client.Delete(ctx, have.DeepCopy(), client.DeleteOptions{UID: have.UID})
	case have == nil:
		err = r.client.Create(ctx, want)
	case !equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) || !equality.Semantic.DeepEqual(have.Ports, want.Ports):
		next := have.DeepCopy()
		next.Endpoints, next.Ports = want.Endpoints, want.Ports
		err = r.client.Update(ctx, next)
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return settle, nil
	}
	if err != nil {
		return 0, fmt.Errorf("write the slice of %s: %w", key, err)
	}
	return 0, nil
}
