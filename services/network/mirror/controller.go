// Package mirror keeps EndpointSlices for Endpoints objects that somebody keeps by hand, for Services without a selector:
// the dataplanes read slices only.
package mirror

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

// again is when to look again after a write that the informer does not show yet.
const again = 100 * time.Millisecond

// Controller is the mirroring controller.
type Controller struct {
	client    *client.Client
	services  *informer.Informer[*corev1.Service]
	endpoints *informer.Informer[*corev1.Endpoints]
	slices    *informer.Informer[*discoveryv1.EndpointSlice]
	queue     *reconcile.Controller
}

// byOwner is the index of mirrored slices by the Endpoints that they mirror.
const byOwner = "mirrored"

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, services: informer.For[*corev1.Service](set), endpoints: informer.For[*corev1.Endpoints](set), slices: informer.For[*discoveryv1.EndpointSlice](set),
	}
	r.queue = reconcile.New("endpointslicemirroring", 1, r.reconcile, log)
	r.slices.AddIndex(byOwner, func(s *discoveryv1.EndpointSlice) []string {
		if s.Labels[discoveryv1.LabelManagedBy] != managedBy {
			return nil
		}
		return []string{ownerOf(s).String()}
	})
	r.services.OnChange(func(old, new *corev1.Service) {
		if old == nil || new == nil || (len(old.Spec.Selector) > 0) != (len(new.Spec.Selector) > 0) {
			r.queue.Enqueue(informer.KeyOf(informer.Newest(old, new)))
		}
	})
	r.endpoints.OnKey(r.queue.Enqueue)
	r.slices.OnChange(func(old, new *discoveryv1.EndpointSlice) {
		for _, s := range []*discoveryv1.EndpointSlice{old, new} {
			if s != nil && s.Labels[discoveryv1.LabelManagedBy] == managedBy {
				r.queue.Enqueue(ownerOf(s))
			}
		}
	})
	return r
}

func ownerOf(s *discoveryv1.EndpointSlice) informer.Key {
	return informer.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	existing := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range r.slices.ByIndex(byOwner, key.String()) {
		existing[s.Name] = s
	}
	var want []*discoveryv1.EndpointSlice
	service, _ := r.services.Get(key.Namespace, key.Name)
	if e, ok := r.endpoints.Get(key.Namespace, key.Name); ok && mirrored(service, e) {
		want = desired(e)
	}
	for _, s := range want {
		have := existing[s.Name]
		delete(existing, s.Name)
		err := r.write(ctx, have, s)
		switch {
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return 0, nil
		case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err):
			return again, nil
		case err != nil:
			return 0, fmt.Errorf("mirror endpoints %s: %w", key, err)
		}
	}
	for _, s := range existing {
		err := r.client.Delete(ctx, s.DeepCopy(), client.DeleteOptions{UID: s.UID})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return 0, fmt.Errorf("delete slice %s/%s: %w", s.Namespace, s.Name, err)
		}
	}
	return 0, nil
}

func (r *Controller) write(ctx context.Context, have, want *discoveryv1.EndpointSlice) error {
	switch {
	case have == nil:
		return r.client.Create(ctx, want)
	case same(have, want):
		return nil
	}
	next := have.DeepCopy()
	next.Labels, next.Annotations, next.OwnerReferences = want.Labels, want.Annotations, want.OwnerReferences
	next.Endpoints, next.Ports = want.Endpoints, want.Ports
	return r.client.Update(ctx, next)
}
