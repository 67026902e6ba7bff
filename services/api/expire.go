package api

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/watch"
)

var gvkEvent = corev1.SchemeGroupVersion.WithKind("Event")

// minSweep keeps sweeps apart, so that each takes a handful of events and not one.
const minSweep = time.Minute

// expireEvents deletes Events that nothing has happened to for a while, until ctx ends. It sleeps until the oldest is
// due: an event that comes meanwhile is younger.
func (s *Server) expireEvents(ctx context.Context) error {
	events := s.resources.Collection(gvkEvent)
	if events == nil {
		return nil
	}
	for {
		next := s.sweepEvents(ctx, events, time.Now())
		timer := time.NewTimer(max(next, minSweep))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// sweepEvents deletes what has expired and returns how long nothing else will.
func (s *Server) sweepEvents(ctx context.Context, events *watch.Collection, now time.Time) (next time.Duration) {
	next = s.config.EventTTL
	var expired []server.Change
	for _, e := range events.List(watch.Query{}).Entries {
		ev := &corev1.Event{}
		if err := codec.Decode(e.Value, e.Revision, ev); err != nil {
			continue
		}
		left := lastSeen(ev).Add(s.config.EventTTL).Sub(now)
		if left > 0 {
			next = min(next, left)
			continue
		}
		expired = append(expired, server.Change{Namespace: e.Namespace, Name: e.Name, Do: func(old registry.Object) (server.Outcome, error) {
			gone := lastSeen(old.(*corev1.Event)).Add(s.config.EventTTL).Before(now)
			return server.Outcome{Next: old, Remove: gone}, nil
		}})
	}
	for _, err := range s.resources.Batch(ctx, gvkEvent, expired) {
		if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			s.config.Log.Warn("an expired Event could not be deleted", zap.Error(err))
		}
	}
	return next
}

// lastSeen is when something last happened to an Event.
func lastSeen(ev *corev1.Event) time.Time {
	last := ev.CreationTimestamp.Time
	times := []time.Time{ev.LastTimestamp.Time, ev.EventTime.Time}
	if ev.Series != nil {
		times = append(times, ev.Series.LastObservedTime.Time)
	}
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}
