// Package autoscaler keeps the replicas of workloads at what their use asks for: it carries out HorizontalPodAutoscalers.
package autoscaler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

const (
	workers = 4
	// interval is how often each target is measured: use cannot be watched. unknownYet is how soon that is tried again where
	// pods are too young to tell.
	interval   = 15 * time.Second
	unknownYet = 3 * time.Second
)

// Controller carries out HorizontalPodAutoscalers.
type Controller struct {
	client  *client.Client
	events  *events.Recorder
	scalers *informer.Informer[*autoscalingv2.HorizontalPodAutoscaler]
	pods    *informer.Informer[*corev1.Pod]
	written *informer.Written[*autoscalingv2.HorizontalPodAutoscaler]
	queue   *reconcile.Controller

	mu     sync.Mutex
	states map[informer.Key]*state
}

// state is what is remembered of an autoscaler. history is its reconcile's, selector is under the controller's mu.
type state struct {
	history  history
	selector labels.Selector
}

// New returns the controller. It registers with the informers, which must not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("horizontal-pod-autoscaler"), pods: informer.For[*corev1.Pod](set),
		scalers: informer.For[*autoscalingv2.HorizontalPodAutoscaler](set), states: map[informer.Key]*state{},
	}
	r.written = informer.NewWritten(r.scalers)
	r.queue = reconcile.New("horizontal-pod-autoscaler", workers, r.reconcile, log)
	// Not the status: that is this controller's own.
	r.scalers.OnChange(func(old, new *autoscalingv2.HorizontalPodAutoscaler) {
		if old == nil || new == nil || !equality.Semantic.DeepEqual(old.Spec, new.Spec) {
			r.queue.Enqueue(informer.KeyOf(informer.Newest(old, new)))
		}
	})
	return r
}

// Run works until ctx ends. The informers are synced before.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	if !r.written.Shown(key) {
		return 100 * time.Millisecond, nil
	}
	stored, ok := r.scalers.Get(key.Namespace, key.Name)
	if !ok {
		r.mu.Lock()
		delete(r.states, key)
		r.mu.Unlock()
		return 0, nil
	}
	next := &turn{Controller: r, key: key, scaler: stored.DeepCopy(), state: r.stateOf(key), now: time.Now()}
	after := next.take(ctx)
	if equality.Semantic.DeepEqual(stored.Status, next.scaler.Status) {
		return after, nil
	}
	err := r.client.UpdateStatus(ctx, next.scaler)
	if err == nil {
		r.written.Stored(key, next.scaler)
	}
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return after, nil // the informer will show what it is now
	}
	return after, err
}

func (r *Controller) stateOf(key informer.Key) *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.states[key]
	if s == nil {
		s = &state{}
		r.states[key] = s
	}
	return s
}

// turn is one look at one autoscaler.
type turn struct {
	*Controller
	key    informer.Key
	scaler *autoscalingv2.HorizontalPodAutoscaler
	state  *state
	now    time.Time
}

// take measures, scales and describes that in the status.
func (t *turn) take(ctx context.Context) (after time.Duration) {
	target := t.scaler.Spec.ScaleTargetRef
	kind := schema.FromAPIVersionAndKind(target.APIVersion, target.Kind)
	scale, err := t.client.Scale(ctx, kind, t.scaler.Namespace, target.Name)
	if err != nil {
		t.warn("FailedGetScale", err)
		t.condition(autoscalingv2.AbleToScale, false, verdict{"FailedGetScale", fmt.Sprintf("the HPA controller was unable to get the target's current scale: %v", err)})
		return interval
	}
	t.condition(autoscalingv2.AbleToScale, true, verdict{"SucceededGetScale", "the HPA controller was able to get the target's current scale"})
	current := scale.Spec.Replicas
	if len(t.state.history.advice) == 0 {
		t.state.history.advice = []mark{{t.now, current}} // what somebody has chosen before counts as advice
	}
	wanted, why, measured, err := t.decide(ctx, scale)
	status := &t.scaler.Status
	status.CurrentReplicas, status.CurrentMetrics, status.ObservedGeneration = current, measured, new(t.scaler.Generation)
	if err != nil {
		t.warn("FailedComputeMetricsReplicas", err)
		if errors.Is(err, errUnready) || errors.Is(err, errNoFigures) {
			return unknownYet
		}
		return interval
	}
	if wanted != current {
		if err := t.rescale(ctx, kind, scale, wanted, why); err != nil {
			return unknownYet
		}
	}
	status.DesiredReplicas = wanted
	return interval
}

// decide says how many replicas there should be, and why.
func (t *turn) decide(ctx context.Context, scale *autoscalingv1.Scale) (wanted int32, why string, measured []autoscalingv2.MetricStatus, err error) {
	current, least, most := scale.Spec.Replicas, int32(1), t.scaler.Spec.MaxReplicas
	if m := t.scaler.Spec.MinReplicas; m != nil {
		least = *m
	}
	switch {
	case current == 0:
		t.condition(autoscalingv2.ScalingActive, false, verdict{"ScalingDisabled", "scaling is disabled since the replica count of the target is zero"})
		return 0, "", nil, nil
	case current > most:
		return most, "Current number of replicas above Spec.MaxReplicas", nil, nil
	case current < least:
		return least, "Current number of replicas below Spec.MinReplicas", nil, nil
	}
	wanted, metric, measured, err := t.measure(ctx, scale)
	if err != nil {
		return 0, "", measured, err
	}
	p := paceOf(t.scaler.Spec.Behavior)
	t.state.history.forget(p, t.now)
	settled, able := t.state.history.settle(p, current, wanted, t.now)
	t.condition(autoscalingv2.AbleToScale, true, able)
	out, limited := t.state.history.bounded(p, current, settled, least, most, t.now)
	t.condition(autoscalingv2.ScalingLimited, out != settled, limited)
	why = "All metrics below target"
	if wanted > current {
		why = metric + " above target"
	}
	return out, why, measured, nil
}

func (t *turn) rescale(ctx context.Context, kind schema.GroupVersionKind, scale *autoscalingv1.Scale, wanted int32, why string) error {
	before := scale.Spec.Replicas
	scale.Spec.Replicas = wanted
	err := t.client.UpdateScale(ctx, kind, scale)
	if apierrors.IsConflict(err) {
		return err // somebody has changed the target meanwhile, and perhaps has scaled it: it is looked at anew
	}
	if err != nil {
		t.events.Event(t.scaler, corev1.EventTypeWarning, "FailedRescale", "New size: %d; reason: %s; error: %v", wanted, why, err)
		t.condition(autoscalingv2.AbleToScale, false, verdict{"FailedUpdateScale", fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err)})
		return err
	}
	t.events.Event(t.scaler, corev1.EventTypeNormal, "SuccessfulRescale", "New size: %d; reason: %s", wanted, why)
	t.condition(autoscalingv2.AbleToScale, true, verdict{"SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", wanted)})
	t.state.history.changed(before, wanted, t.now)
	t.scaler.Status.LastScaleTime = &metav1.Time{Time: t.now}
	return nil
}

func (t *turn) warn(reason string, err error) {
	t.events.Event(t.scaler, corev1.EventTypeWarning, reason, "%v", err)
}

// condition sets a condition of the autoscaler's status.
func (t *turn) condition(kind autoscalingv2.HorizontalPodAutoscalerConditionType, holds bool, why verdict) {
	status := corev1.ConditionFalse
	if holds {
		status = corev1.ConditionTrue
	}
	next := autoscalingv2.HorizontalPodAutoscalerCondition{
		Type: kind, Status: status, Reason: why.reason, Message: why.message, LastTransitionTime: metav1.Time{Time: t.now},
	}
	list := t.scaler.Status.Conditions
	for i := range list {
		if list[i].Type == kind {
			if list[i].Status == status {
				next.LastTransitionTime = list[i].LastTransitionTime
			}
			list[i] = next
			return
		}
	}
	t.scaler.Status.Conditions = append(list, next)
}
