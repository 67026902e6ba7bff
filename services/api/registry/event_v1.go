package registry

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// eventOf is the Event of group events.k8s.io: the same objects as core/v1's, with other names for some fields.
func eventOf(hub *Kind) *Kind {
	return spoke[eventsv1.Event, *eventsv1.Event, *corev1.Event]{
		gvk: gvk(eventsv1.GroupName, "v1", "Event"), hub: hub, newList: func() runtime.Object { return &eventsv1.EventList{} },
		from: eventFromCore, to: eventToCore, validate: validateNewEvent, validateUpdate: validateChangedEvent,
		fields: map[string]string{
			"reason": "reason", "type": "type", "reportingController": "reportingComponent",
			"regarding.kind": "involvedObject.kind", "regarding.namespace": "involvedObject.namespace",
			"regarding.name": "involvedObject.name", "regarding.uid": "involvedObject.uid",
			"regarding.apiVersion": "involvedObject.apiVersion", "regarding.resourceVersion": "involvedObject.resourceVersion",
			"regarding.fieldPath": "involvedObject.fieldPath",
		},
	}.kind()
}

func eventFromCore(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		TypeMeta: e.TypeMeta, ObjectMeta: e.ObjectMeta, EventTime: e.EventTime,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Action: e.Action, Reason: e.Reason, Regarding: e.InvolvedObject, Related: e.Related, Note: e.Message, Type: e.Type,
		DeprecatedSource: e.Source, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp,
		DeprecatedCount: e.Count,
	}
	if s := e.Series; s != nil {
		out.Series = &eventsv1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return out
}

func eventToCore(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		TypeMeta: e.TypeMeta, ObjectMeta: e.ObjectMeta, EventTime: e.EventTime,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Action: e.Action, Reason: e.Reason, InvolvedObject: e.Regarding, Related: e.Related, Message: e.Note, Type: e.Type,
		Source: e.DeprecatedSource, FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp,
		Count: e.DeprecatedCount,
	}
	if s := e.Series; s != nil {
		out.Series = &corev1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return out
}

// validateNewEvent is stricter than core/v1: who uses the newer form says everything that it asks for.
func validateNewEvent(ev *eventsv1.Event) field.ErrorList {
	var e check.Errors
	old := eventToCore(ev)
	validateSeries(&e, old)
	if ev.EventTime.IsZero() {
		e.Required(field.NewPath("eventTime"), "")
	}
	e.If(ev.Type != corev1.EventTypeNormal && ev.Type != corev1.EventTypeWarning, field.NewPath("type"), "", "has invalid value: "+ev.Type)
	for _, unset := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !old.FirstTimestamp.IsZero()}, {"lastTimestamp", !old.LastTimestamp.IsZero()},
		{"count", old.Count != 0}, {"source", old.Source != corev1.EventSource{}},
	} {
		e.If(unset.set, field.NewPath(unset.name), "", "needs to be unset")
	}
	return e.List()
}

func validateSeries(e *check.Errors, ev *corev1.Event) {
	if ev.Series == nil {
		return
	}
	e.If(ev.Series.Count < 2, field.NewPath("series.count"), "", "should be at least 2")
	if ev.Series.LastObservedTime.IsZero() {
		e.Required(field.NewPath("series.lastObservedTime"), "")
	}
}

// validateChangedEvent: of an event that has happened, only its repetitions are still written. Fields have core/v1's
// names, as in Kubernetes.
func validateChangedEvent(ev, old *corev1.Event) field.ErrorList {
	var e check.Errors
	if !equality.Semantic.DeepEqual(ev.Series, old.Series) {
		validateSeries(&e, ev)
	}
	// Clients may cut off what is below a microsecond.
	happened, before := ev.EventTime.Truncate(time.Microsecond), old.EventTime.Truncate(time.Microsecond)
	for _, f := range []struct {
		name     string
		now, was any
	}{
		{"involvedObject", ev.InvolvedObject, old.InvolvedObject}, {"reason", ev.Reason, old.Reason}, {"message", ev.Message, old.Message},
		{"source", ev.Source, old.Source}, {"firstTimestamp", ev.FirstTimestamp, old.FirstTimestamp}, {"lastTimestamp", ev.LastTimestamp, old.LastTimestamp},
		{"count", ev.Count, old.Count}, {"type", ev.Type, old.Type}, {"action", ev.Action, old.Action}, {"related", ev.Related, old.Related},
		{"reportingController", ev.ReportingController, old.ReportingController}, {"reportingInstance", ev.ReportingInstance, old.ReportingInstance},
	} {
		e.Immutable(field.NewPath(f.name), f.now, f.was)
	}
	if !happened.Equal(before) {
		e.Immutable(field.NewPath("eventTime"), ev.EventTime, old.EventTime)
	}
	return e.List()
}
