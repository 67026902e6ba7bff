package registry

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

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
		Default:        func(q *corev1.ResourceQuota) { podspec.RoundResources(q.Spec.Hard) },
		Validate:       validateResourceQuota,
		ValidateUpdate: validateResourceQuotaUpdate,
		ValidateStatus: validateResourceQuotaStatus,
		Columns:        columns("Name|Request|Limit|Age"),
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
