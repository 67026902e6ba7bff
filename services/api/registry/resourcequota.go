package registry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func resourceQuota() *Kind {
	return define(Spec[*corev1.ResourceQuota]{
		GVK: core("ResourceQuota"), Resource: "resourcequotas", Singular: "resourcequota", ShortNames: []string{"quota"}, Namespaced: true,
		New:     func() *corev1.ResourceQuota { return &corev1.ResourceQuota{} },
		NewList: func() runtime.Object { return &corev1.ResourceQuotaList{} },
		Life: specAndStatus(func(o *corev1.ResourceQuota) (*corev1.ResourceQuotaSpec, *corev1.ResourceQuotaStatus) {
			return &o.Spec, &o.Status
		}),
		Default:  func(q *corev1.ResourceQuota) { podspec.RoundResources(q.Spec.Hard) },
		Validate: validateResourceQuota,
		ValidateUpdate: func(q, old *corev1.ResourceQuota) field.ErrorList {
			var e check.Errors
			now, was := slices.Clone(q.Spec.Scopes), slices.Clone(old.Spec.Scopes)
			slices.Sort(now)
			slices.Sort(was)
			e.Immutable(field.NewPath("spec", "scopes"), now, was)
			return e.List()
		},
		Columns: columns("Name|Request|Limit|Age"),
		Cells: func(q *corev1.ResourceQuota, now time.Time) []any {
			requests, limits := quotaUse(q)
			return []any{q.Name, requests, limits, age(q.CreationTimestamp, now)}
		},
	})
}

// quotaUse lists "used/hard" of each resource, limits apart from the rest.
func quotaUse(q *corev1.ResourceQuota) (requests, limits string) {
	var r, l []string
	for _, name := range sorted(q.Status.Hard) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		item := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(string(name), "limits") {
			l = append(l, item)
		} else {
			r = append(r, item)
		}
	}
	return strings.Join(r, ", "), strings.Join(l, ", ")
}

func validateResourceQuota(q *corev1.ResourceQuota) field.ErrorList {
	var e check.Errors
	hard := field.NewPath("spec", "hard")
	for _, name := range sorted(q.Spec.Hard) {
		at := hard.Key(string(name))
		// Counts of objects of any kind are named count/<plural>.<group>.
		if counted, ok := strings.CutPrefix(string(name), "count/"); ok {
			e.Qualified(at, counted)
			podspec.CheckQuantity(&e, at, corev1.ResourcePods, q.Spec.Hard[name])
			continue
		}
		podspec.CheckResource(&e, at, name, q.Spec.Hard[name])
	}
	scopes := field.NewPath("spec", "scopes")
	seen := map[corev1.ResourceQuotaScope]bool{}
	for _, s := range q.Spec.Scopes {
		seen[s] = true
		switch s {
		case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
			corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
			corev1.ResourceQuotaScopeVolumeAttributesClass:
		default:
			e.Invalid(scopes, q.Spec.Scopes, "unsupported scope")
		}
	}
	conflict := seen[corev1.ResourceQuotaScopeBestEffort] && seen[corev1.ResourceQuotaScopeNotBestEffort] ||
		seen[corev1.ResourceQuotaScopeTerminating] && seen[corev1.ResourceQuotaScopeNotTerminating]
	e.If(conflict, scopes, q.Spec.Scopes, "conflicting scopes")
	return e.List()
}
