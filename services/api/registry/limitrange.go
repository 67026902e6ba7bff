package registry

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func limitRange() *Kind {
	return define(Spec[*corev1.LimitRange]{
		GVK: core("LimitRange"), Resource: "limitranges", Singular: "limitrange", ShortNames: []string{"limits"}, Namespaced: true,
		New:      func() *corev1.LimitRange { return &corev1.LimitRange{} },
		NewList:  func() runtime.Object { return &corev1.LimitRangeList{} },
		Default:  defaultLimitRange,
		Validate: validateLimitRange,
		Columns:  columns("Name|Created At"),
		Cells: func(l *corev1.LimitRange, _ time.Time) []any {
			return []any{l.Name, createdAt(l.CreationTimestamp)}
		},
	})
}

// defaultLimitRange: a container's default limit is the largest allowed, its default request the default limit, or else
// the smallest allowed.
func defaultLimitRange(l *corev1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			podspec.RoundResources(list)
		}
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		item.Default = withMissing(item.Default, item.Max)
		item.DefaultRequest = withMissing(item.DefaultRequest, item.Default)
		item.DefaultRequest = withMissing(item.DefaultRequest, item.Min)
	}
}

func withMissing(list, from corev1.ResourceList) corev1.ResourceList {
	for name, q := range from {
		if list == nil {
			list = corev1.ResourceList{}
		}
		if _, ok := list[name]; !ok {
			list[name] = q.DeepCopy()
		}
	}
	return list
}

func validateLimitRange(l *corev1.LimitRange) field.ErrorList {
	var e check.Errors
	types := map[corev1.LimitType]bool{}
	for i := range l.Spec.Limits {
		item, at := &l.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		e.Qualified(at.Child("type"), string(item.Type))
		if types[item.Type] {
			e.Duplicate(at.Child("type"), item.Type)
		}
		types[item.Type] = true
		if item.Type == corev1.LimitTypePod {
			if len(item.Default) > 0 {
				e.Forbidden(at.Child("default"), "may not be specified when `type` is 'Pod'")
			}
			if len(item.DefaultRequest) > 0 {
				e.Forbidden(at.Child("defaultRequest"), "may not be specified when `type` is 'Pod'")
			}
		}
		validateLimits(&e, at, item)
	}
	return e.List()
}

// validateLimits checks that min <= default request <= default <= max for each resource.
func validateLimits(e *check.Errors, p *field.Path, item *corev1.LimitRangeItem) {
	names := map[corev1.ResourceName]bool{}
	lists := []struct {
		name string
		list corev1.ResourceList
	}{{"min", item.Min}, {"defaultRequest", item.DefaultRequest}, {"default", item.Default}, {"max", item.Max}}
	for _, l := range append(lists, struct {
		name string
		list corev1.ResourceList
	}{"maxLimitRequestRatio", item.MaxLimitRequestRatio}) {
		for _, name := range sorted(l.list) {
			names[name] = true
			podspec.CheckResource(e, p.Child(l.name).Key(string(name)), name, l.list[name])
		}
	}
	texts := map[string]string{"min": "min value", "defaultRequest": "default request value", "default": "default value", "max": "max value"}
	for _, name := range sorted(names) {
		for i, low := range lists {
			for _, high := range lists[i+1:] {
				a, ok := low.list[name]
				b, also := high.list[name]
				if !ok || !also || a.Cmp(b) <= 0 {
					continue
				}
				at, value := low.name, a
				e.Invalid(p.Child(at).Key(string(name)), value.String(), fmt.Sprintf("%s %s is greater than %s %s", texts[low.name], a.String(), texts[high.name], b.String()))
			}
		}
	}
}
