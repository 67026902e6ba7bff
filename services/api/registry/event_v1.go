package registry

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// eventOf is the Event of group events.k8s.io: the same objects as core/v1's, with other names for some fields.
func eventOf(hub *Kind) *Kind {
	return spoke[eventsv1.Event, *eventsv1.Event, *corev1.Event]{
		gvk: gvk(eventsv1.GroupName, "v1", "Event"), hub: hub, newList: func() runtime.Object { return &eventsv1.EventList{} },
		from: eventFromCore, to: eventToCore, validate: validateNewEvent,
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
	const maxReason, maxNote = 128, 1024
	var e check.Errors
	if ev.EventTime.IsZero() {
		e.Required(field.NewPath("eventTime"), "")
	}
	check.OneOf(&e, field.NewPath("type"), ev.Type, corev1.EventTypeNormal, corev1.EventTypeWarning)
	e.If(len(ev.Reason) > maxReason, field.NewPath("reason"), ev.Reason, "can have at most 128 characters")
	e.If(len(ev.Note) > maxNote, field.NewPath("note"), ev.Note, "can have at most 1024 characters")
	e.If(ev.DeprecatedSource != corev1.EventSource{}, field.NewPath("deprecatedSource"), ev.DeprecatedSource, "needs to be unset")
	e.If(!ev.DeprecatedFirstTimestamp.IsZero(), field.NewPath("deprecatedFirstTimestamp"), ev.DeprecatedFirstTimestamp, "needs to be unset")
	e.If(!ev.DeprecatedLastTimestamp.IsZero(), field.NewPath("deprecatedLastTimestamp"), ev.DeprecatedLastTimestamp, "needs to be unset")
	e.If(ev.DeprecatedCount != 0, field.NewPath("deprecatedCount"), ev.DeprecatedCount, "needs to be unset")
	return e.List()
}
