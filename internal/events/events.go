// Package events records core/v1 Events about objects, as kubectl describe and kubectl get events show them.
//
// Recording never blocks and never fails: an event is queued or, when the queue is full, dropped and counted. Repeats
// are added up in one Event, similar ones are combined, and each object has a budget, with the numbers that client-go uses.
package events

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
)

const (
	queueSize    = 2048
	callTimeout  = 5 * time.Second
	flushTimeout = time.Second
	attempts     = 3
	retryDelay   = 200 * time.Millisecond
	dropLogGap   = time.Minute
	maxName      = 253
	maxMessage   = 1024
)

// Recorder records the events of one component. It is safe for concurrent use; a nil Recorder records nothing.
type Recorder struct {
	source corev1.EventSource
	*sink
}

// sink is what the recorders of a process part share.
type sink struct {
	client *client.Client
	log    *zap.Logger
	queue  chan *corev1.Event
	// dropped counts events that found the queue full since that was last logged.
	dropped atomic.Int64
	// last makes event names of this process unique.
	last atomic.Int64
}

// New returns a recorder whose events come from component ("replicaset-controller") and, where it acts for one, node.
// Events wait in its queue until Run.
func New(c *client.Client, component, node string, log *zap.Logger) *Recorder {
	return &Recorder{
		source: corev1.EventSource{Component: component, Host: node},
		sink:   &sink{client: c, log: log.Named("events"), queue: make(chan *corev1.Event, queueSize)},
	}
}

// As returns a recorder for another component that shares r's queue and Run.
func (r *Recorder) As(component string) *Recorder {
	if r == nil {
		return nil
	}
	return &Recorder{source: corev1.EventSource{Component: component, Host: r.source.Host}, sink: r.sink}
}

// Event records that something happened to obj. The type is corev1.EventTypeNormal or EventTypeWarning, the reason one
// word in CamelCase, the message a sentence for people. It never blocks.
func (r *Recorder) Event(obj client.Object, eventType, reason, format string, args ...any) {
	if r == nil {
		return
	}
	ref, err := Ref(obj)
	if err != nil {
		r.log.Error("event about an unknown kind", zap.String("reason", reason), zap.Error(err))
		return
	}
	r.EventOn(ref, eventType, reason, format, args...)
}

// EventOn is Event for a reference: to a part of an object (FieldPath "spec.containers{app}"), or to one that is not
// at hand.
func (r *Recorder) EventOn(ref corev1.ObjectReference, eventType, reason, format string, args ...any) {
	if r == nil {
		return
	}
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	now := time.Now()
	at := metav1.NewTime(now)
	ev := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: r.eventName(ref.Name, now), Namespace: namespace},
		InvolvedObject: ref, Type: eventType, Reason: reason, Message: message(format, args), Source: r.source,
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
		ReportingController: r.source.Component, ReportingInstance: r.source.Host,
	}
	select {
	case r.queue <- ev:
	default:
		r.dropped.Add(1)
	}
}

// Ref returns the reference that Event would make of obj.
func Ref(obj client.Object) (corev1.ObjectReference, error) {
	gvk, err := client.KindOf(obj)
	if err != nil {
		return corev1.ObjectReference{}, err
	}
	return corev1.ObjectReference{
		Kind: gvk.Kind, APIVersion: gvk.GroupVersion().String(), Namespace: obj.GetNamespace(), Name: obj.GetName(),
		UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(),
	}, nil
}

func message(format string, args []any) string {
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	if len(text) > maxMessage {
		text = text[:maxMessage-3] + "..."
	}
	return text
}

// eventName is the object's name with a suffix that grows with time and is not used twice.
func (s *sink) eventName(object string, now time.Time) string {
	stamp := now.UnixNano()
	for {
		last := s.last.Load()
		stamp = max(stamp, last+1)
		if s.last.CompareAndSwap(last, stamp) {
			break
		}
	}
	suffix := "." + strconv.FormatInt(stamp, 16)
	if len(object)+len(suffix) > maxName {
		object = object[:maxName-len(suffix)]
	}
	return object + suffix
}

// Run writes the events of r, and of all recorders that As made of it, until ctx ends, then for a moment what is still queued.
func (r *Recorder) Run(ctx context.Context) error {
	known := newCorrelator()
	gap := time.NewTicker(dropLogGap)
	defer gap.Stop()
	for {
		select {
		case ev := <-r.queue:
			r.write(ctx, known, ev)
		case <-gap.C:
			r.logDropped()
		case <-ctx.Done():
			r.flush(context.WithoutCancel(ctx), known)
			return nil
		}
	}
}

func (s *sink) flush(ctx context.Context, known *correlator) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	defer s.logDropped()
	for ctx.Err() == nil {
		select {
		case ev := <-s.queue:
			s.write(ctx, known, ev)
		default:
			return
		}
	}
}

func (s *sink) logDropped() {
	if n := s.dropped.Swap(0); n > 0 {
		s.log.Warn("events dropped: more came than the API takes", zap.Int64("events", n))
	}
}

// write stores one event, with a few attempts where the failure may pass.
func (s *sink) write(ctx context.Context, known *correlator, ev *corev1.Event) {
	ev, verdict := known.observe(ev, ev.LastTimestamp.Time)
	for n := 1; verdict != suppress; n++ {
		err := s.send(ctx, ev, verdict)
		switch {
		case err == nil:
			known.stored(ev)
			return
		case verdict == patch && apierrors.IsNotFound(err):
			// The Event has outlived its time in the API: it begins anew under a new name.
			ev.Name, verdict = s.eventName(ev.InvolvedObject.Name, time.Now()), create
			continue
		case n == attempts || !mayPass(err) || !sleep(ctx, retryDelay):
			s.log.Debug("event not stored", zap.String("object", ev.InvolvedObject.Name), zap.String("reason", ev.Reason), zap.Error(err))
			return
		}
	}
}

func (s *sink) send(ctx context.Context, ev *corev1.Event, verdict verdict) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if verdict == create {
		return s.client.Create(ctx, ev.DeepCopy())
	}
	body, err := json.Marshal(map[string]any{"count": ev.Count, "lastTimestamp": ev.LastTimestamp, "message": ev.Message})
	if err != nil {
		return fmt.Errorf("encode event patch: %w", err)
	}
	target := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: ev.Namespace, Name: ev.Name}}
	return s.client.Patch(ctx, target, types.MergePatchType, body, "")
}

// mayPass tells failures of the moment from refusals.
func mayPass(err error) bool {
	return apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
