// Package disruption keeps the status of PodDisruptionBudgets: how many of their pods may go at the moment.
package disruption

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/replication/pods"
)

const (
	workers = 2
	// gap spaces the reconciles of a budget: while a thousand pods become ready, its status is written a few times.
	gap = 100 * time.Millisecond
)

// Controller is the PodDisruptionBudget controller.
type Controller struct {
	client    *client.Client
	events    *events.Recorder
	budgets   *informer.Informer[*policyv1.PodDisruptionBudget]
	pods      *informer.Informer[*corev1.Pod]
	workloads workloads
	queue     *reconcile.Controller
	// stale are pods that were to be disrupted.
	stale *reconcile.Controller
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("controllermanager"),
		budgets: informer.For[*policyv1.PodDisruptionBudget](set), pods: informer.For[*corev1.Pod](set),
		workloads: workloads{
			deployments: informer.For[*appsv1.Deployment](set), replicaSets: informer.For[*appsv1.ReplicaSet](set),
			statefulSets: informer.For[*appsv1.StatefulSet](set), controllers: informer.For[*corev1.ReplicationController](set),
		},
	}
	r.queue = reconcile.New("disruption-controller", workers, r.reconcile, log)
	r.stale = reconcile.New("stale-disruption-controller", 1, r.clear, log)
	r.budgets.OnChange(func(_, new *policyv1.PodDisruptionBudget) {
		if new != nil {
			r.queue.Enqueue(informer.KeyOf(new))
		}
	})
	r.pods.OnChange(r.podChanged)
	w := r.workloads
	watch(r, w.deployments, func(d *appsv1.Deployment) (*int32, map[string]string) { return d.Spec.Replicas, d.Spec.Template.Labels })
	watch(r, w.replicaSets, func(s *appsv1.ReplicaSet) (*int32, map[string]string) { return s.Spec.Replicas, s.Spec.Template.Labels })
	watch(r, w.statefulSets, func(s *appsv1.StatefulSet) (*int32, map[string]string) {
		return s.Spec.Replicas, s.Spec.Template.Labels
	})
	watch(r, w.controllers, func(c *corev1.ReplicationController) (*int32, map[string]string) {
		if c.Spec.Template == nil {
			return c.Spec.Replicas, c.Spec.Selector
		}
		return c.Spec.Replicas, c.Spec.Template.Labels
	})
	return r
}

// watch wakes the budgets over a workload's pods when it comes, goes or is scaled.
func watch[T client.Object](r *Controller, i *informer.Informer[T], facts func(T) (replicas *int32, template map[string]string)) {
	i.OnChange(func(old, new T) {
		var none T
		was, is := client.Object(old) != client.Object(none), client.Object(new) != client.Object(none)
		if !is {
			new = old
		}
		count, template := facts(new)
		if was && is {
			if before, _ := facts(old); replicas(before) == replicas(count) {
				return
			}
		}
		r.wake(new.GetNamespace(), template)
	})
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.queue.Run(ctx) })
	g.Go(func() error { return r.stale.Run(ctx) })
	return g.Wait()
}

func (r *Controller) podChanged(old, new *corev1.Pod) {
	if target(old) == nil && target(new) != nil {
		r.stale.Enqueue(informer.KeyOf(new))
	}
	if !pods.Changed(old, new) {
		return
	}
	for _, p := range []*corev1.Pod{old, new} {
		if p != nil {
			r.wake(p.Namespace, p.Labels)
		}
	}
}

// wake has the budgets looked at that select pods with the labels.
func (r *Controller) wake(namespace string, set labels.Set) {
	for _, b := range r.budgets.List(namespace, nil) {
		if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && s.Matches(set) {
			r.queue.EnqueueSoon(informer.KeyOf(b), gap)
		}
	}
}

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	budget, ok := r.budgets.Get(key.Namespace, key.Name)
	if !ok || budget.DeletionTimestamp != nil {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return 0, fmt.Errorf("selector of %s: %w", key, err)
	}
	o := observed{budget: budget, scaleOf: r.workloads.of, now: time.Now()}
	o.pods = r.pods.List(key.Namespace, selector)
	p := makePlan(o)
	if equality.Semantic.DeepEqual(p.status, budget.Status) {
		return p.after, nil
	}
	update := budget.DeepCopy()
	update.Status = p.status
	// An eviction that was allowed meanwhile makes this a conflict: its count is never overwritten.
	if err := r.client.UpdateStatus(ctx, update); err != nil {
		return 0, fmt.Errorf("status of PodDisruptionBudget %s: %w", key, err)
	}
	r.tell(budget, len(o.pods), p)
	return p.after, nil
}

func (r *Controller) tell(budget *policyv1.PodDisruptionBudget, pods int, p plan) {
	if pods == 0 {
		r.events.Event(budget, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	if p.failure != nil {
		r.events.Event(budget, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", p.failure)
	}
	if p.unmanaged {
		r.events.Event(budget, corev1.EventTypeWarning, "UnmanagedPods", "Some of the selected pods have no controller and are not expected: "+
			"with a percentage or maxUnavailable the budget does not cover them, a number as minAvailable does")
	}
	for _, pod := range p.kept {
		r.events.Event(pod, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", budget.Namespace, budget.Name)
	}
}
