// Package endpoints keeps the EndpointSlices, and the older Endpoints object, of every Service with a selector.
package endpoints

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

const (
	workers = 4
	// gap and gapPerSlice space the writes for one service: the more one change costs, the more changes go into a write.
	// A lone change is written at once.
	gap         = 50 * time.Millisecond
	gapPerSlice = 20 * time.Millisecond
	// legacyGap spaces the writes of Endpoints objects, which are large and which few look at.
	legacyGap = 250 * time.Millisecond
	recheck   = 100 * time.Millisecond
)

// Controller is the endpoints controller.
type Controller struct {
	client  *client.Client
	events  *events.Recorder
	lookup  lookup
	slices  *informer.Informer[*discoveryv1.EndpointSlice]
	legacy  *informer.Informer[*corev1.Endpoints]
	written *informer.Written[*discoveryv1.EndpointSlice]
	// queue is for slices, legacyQueue for Endpoints; both are keyed by service.
	queue, legacyQueue *reconcile.Controller
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("endpoint-slice-controller"), lookup: newLookup(set),
		slices: informer.For[*discoveryv1.EndpointSlice](set), legacy: informer.For[*corev1.Endpoints](set),
	}
	r.written = informer.NewWritten(r.slices)
	r.queue = reconcile.New("endpointslices", workers, r.reconcileSlices, log)
	r.legacyQueue = reconcile.New("endpoints", workers, r.reconcileLegacy, log)
	r.slices.AddIndex(byService, func(s *discoveryv1.EndpointSlice) []string {
		if s.Labels[discoveryv1.LabelManagedBy] != managedBy {
			return nil
		}
		return []string{s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]}
	})
	r.lookup.services.OnChange(r.serviceChanged)
	r.lookup.pods.OnChange(r.podChanged)
	r.lookup.nodes.OnChange(r.nodeChanged)
	r.slices.OnChange(r.sliceChanged)
	r.legacy.OnChange(func(old, new *corev1.Endpoints) {
		if new == nil {
			r.legacyQueue.EnqueueSoon(informer.KeyOf(old), legacyGap)
		}
	})
	return r
}

// byService is the index of slices by the service that they belong to.
const byService = "service"

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.queue.Run(ctx) })
	g.Go(func() error { return r.legacyQueue.Run(ctx) })
	return g.Wait()
}

func (r *Controller) serviceChanged(old, new *corev1.Service) {
	key := informer.KeyOf(informer.Newest(old, new))
	r.queue.Enqueue(key)
	r.legacyQueue.Enqueue(key)
}

func (r *Controller) podChanged(old, new *corev1.Pod) {
	if !matters(old, new) {
		return
	}
	seen := map[informer.Key]bool{}
	for _, p := range []*corev1.Pod{old, new} {
		if p == nil {
			continue
		}
		for _, key := range r.lookup.servicesOf(p) {
			if !seen[key] {
				seen[key] = true
				r.enqueueSoon(key)
			}
		}
	}
}

func (r *Controller) enqueueSoon(key informer.Key) {
	n := len(r.slices.ByIndex(byService, key.String()))
	r.queue.EnqueueSoon(key, gap+time.Duration(n)*gapPerSlice)
	r.legacyQueue.EnqueueSoon(key, legacyGap)
}

// nodeChanged renews the zones of endpoints; nodes change their zone about never.
func (r *Controller) nodeChanged(old, new *corev1.Node) {
	if zoneOf(old) == zoneOf(new) {
		return
	}
	for _, svc := range r.lookup.services.List("", nil) {
		if len(svc.Spec.Selector) > 0 {
			r.queue.EnqueueSoon(informer.KeyOf(svc), gap)
		}
	}
}

// sliceChanged repairs slices that somebody else has changed or deleted.
func (r *Controller) sliceChanged(old, new *discoveryv1.EndpointSlice) {
	for _, s := range []*discoveryv1.EndpointSlice{old, new} {
		if s != nil && s.Labels[discoveryv1.LabelManagedBy] == managedBy {
			r.queue.EnqueueSoon(informer.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}, gap)
		}
	}
}

func (r *Controller) reconcileSlices(ctx context.Context, key informer.Key) (time.Duration, error) {
	if !r.written.Shown(key) {
		return recheck, nil
	}
	existing := r.slices.ByIndex(byService, key.String())
	svc, ok := r.lookup.services.Get(key.Namespace, key.Name)
	switch {
	case !ok:
		return 0, r.removeSlices(ctx, existing)
	case svc.DeletionTimestamp != nil, len(svc.Spec.Selector) == 0 && svc.Spec.Type != corev1.ServiceTypeExternalName:
		return 0, nil
	}
	groups := groupsOf(svc, r.lookup.podsOf(svc), r.lookup.zone)
	err := r.write(ctx, key, planSlices(svc, groups, existing))
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return 0, nil
	}
	if err != nil && !apierrors.IsConflict(err) {
		r.events.Event(svc, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s: %v", key, err)
	}
	return 0, err
}

func (r *Controller) write(ctx context.Context, key informer.Key, p slicePlan) error {
	for _, s := range p.create {
		if err := r.client.Create(ctx, s); err != nil {
			return fmt.Errorf("create a slice for service %s: %w", key, err)
		}
		r.written.Stored(key, s)
	}
	for _, s := range p.update {
		if err := r.client.Update(ctx, s); err != nil {
			return fmt.Errorf("update slice %s: %w", s.Name, err)
		}
		r.written.Stored(key, s)
	}
	return r.removeSlices(ctx, p.remove)
}

func (r *Controller) removeSlices(ctx context.Context, all []*discoveryv1.EndpointSlice) error {
	for _, s := range all {
		err := r.client.Delete(ctx, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}}, client.DeleteOptions{UID: s.UID})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete slice %s: %w", s.Name, err)
		}
	}
	return nil
}

func (r *Controller) reconcileLegacy(ctx context.Context, key informer.Key) (time.Duration, error) {
	existing, have := r.legacy.Get(key.Namespace, key.Name)
	svc, ok := r.lookup.services.Get(key.Namespace, key.Name)
	switch {
	case !ok && have:
		return 0, r.removeLegacy(ctx, existing)
	case !ok, svc.DeletionTimestamp != nil, len(svc.Spec.Selector) == 0:
		return 0, nil
	}
	next := planLegacy(svc, r.lookup.podsOf(svc), existing)
	if next == nil {
		return 0, nil
	}
	write := r.client.Update
	if !have {
		write = r.client.Create
	}
	err := write(ctx, next)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return 0, nil
	case apierrors.IsAlreadyExists(err):
		return recheck, nil // the informer will show it
	case err != nil:
		return 0, fmt.Errorf("endpoints of service %s: %w", key, err)
	}
	return 0, nil
}

// removeLegacy deletes the Endpoints of a service that is gone, unless somebody else made them.
func (r *Controller) removeLegacy(ctx context.Context, e *corev1.Endpoints) error {
	if e.Labels[managedByLabel] != managedByLegacy {
		return nil
	}
	err := r.client.Delete(ctx, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name}}, client.DeleteOptions{UID: e.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete endpoints %s: %w", e.Name, err)
	}
	return nil
}
