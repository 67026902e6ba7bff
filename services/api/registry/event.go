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
	about := field.NewPath("involvedObject", "namespace")
	// Events about things without a namespace live in the default one.
	switch ns := ev.InvolvedObject.Namespace; {
	case ns == "" && ev.Namespace != metav1.NamespaceDefault && ev.Namespace != metav1.NamespaceSystem:
		e.Invalid(about, ns, "does not match event.namespace")
	case ns != "" && ns != ev.Namespace:
		e.Invalid(about, ns, "does not match event.namespace")
	}
	if !ev.EventTime.IsZero() {
		e.NotEmpty(field.NewPath("reportingController"), ev.ReportingController)
		e.NotEmpty(field.NewPath("reportingInstance"), ev.ReportingInstance)
		e.NotEmpty(field.NewPath("action"), ev.Action)
		e.NotEmpty(field.NewPath("reason"), ev.Reason)
	}
	return e.List()
}
