package registry

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func event() *Kind {
	return define(Spec[*corev1.Event]{
		GVK: core("Event"), Resource: "events", Singular: "event", ShortNames: []string{"ev"}, Namespaced: true,
		New:      func() *corev1.Event { return &corev1.Event{} },
		NewList:  func() runtime.Object { return &corev1.EventList{} },
		Validate: validateEvent,
		Columns:  columns("Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+Count#|+Name"),
		Cells:    eventCells,
		Fields:   eventFields,
	})
}

func eventCells(e *corev1.Event, now time.Time) []any {
	first := e.FirstTimestamp
	if first.IsZero() {
		first = metav1.Time(e.EventTime)
	}
	last, count := e.LastTimestamp, e.Count
	switch {
	case e.Series != nil:
		last, count = metav1.Time(e.Series.LastObservedTime), e.Series.Count
	case count == 0:
		count = 1
	}
	if last.IsZero() {
		last = first
	}
	about := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		about = fmt.Sprintf("%s/%s", about, e.InvolvedObject.Name)
	}
	source := cmp.Or(e.Source.Component, e.ReportingController)
	if instance := cmp.Or(e.Source.Host, e.ReportingInstance); instance != "" {
		source += ", " + instance
	}
	return []any{age(last, now), e.Type, e.Reason, about, e.InvolvedObject.FieldPath, source, strings.TrimSpace(e.Message),
		age(first, now), int64(count), e.Name}
}

func eventFields(e *corev1.Event) fields.Set {
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         cmp.Or(e.Source.Component, e.ReportingController),
		"type":                           e.Type,
	}
}

func validateEvent(ev *corev1.Event) field.ErrorList {
	var e check.Errors
	about, ns := field.NewPath("involvedObject", "namespace"), ev.InvolvedObject.Namespace
	// Events about things without a namespace live in the default one; newer ones of the system's parts in its own.
	newer := !ev.EventTime.IsZero()
	elsewhere := ns == "" && ev.Namespace != metav1.NamespaceDefault && !(newer && ev.Namespace == metav1.NamespaceSystem)
	e.If(elsewhere || ns != "" && ns != ev.Namespace && !newer, about, ns, "does not match event.namespace")
	if !newer {
		return e.List()
	}
	if controller := field.NewPath("reportingController"); e.NotEmpty(controller, ev.ReportingController) {
		e.Qualified(controller, ev.ReportingController)
	}
	for _, f := range []struct {
		name, value string
		most        int
		required    bool
	}{{"reportingInstance", ev.ReportingInstance, 128, true}, {"action", ev.Action, 128, true}, {"reason", ev.Reason, 128, true}, {"message", ev.Message, 1024, false}} {
		if f.required {
			e.NotEmpty(field.NewPath(f.name), f.value)
		}
		e.If(len(f.value) > f.most, field.NewPath(f.name), "", fmt.Sprintf("can have at most %d characters", f.most))
	}
	return e.List()
}
