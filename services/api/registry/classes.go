package registry

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// highestUserPriority is where the range begins that is kept for the cluster itself.
const highestUserPriority = 1_000_000_000

// systemPriorities are the classes of what keeps the cluster going.
var systemPriorities = map[string]int32{"system-node-critical": 2*highestUserPriority + 1000, "system-cluster-critical": 2 * highestUserPriority}

func priorityClass() *Kind {
	return define(Spec[*schedulingv1.PriorityClass]{
		GVK: gvk("scheduling.k8s.io", "v1", "PriorityClass"), Resource: "priorityclasses", Singular: "priorityclass", ShortNames: []string{"pc"},
		New:      func() *schedulingv1.PriorityClass { return &schedulingv1.PriorityClass{} },
		NewList:  func() runtime.Object { return &schedulingv1.PriorityClassList{} },
		Life:     life[*schedulingv1.PriorityClass]{create: func(c *schedulingv1.PriorityClass) { c.Generation = 1 }},
		Default:  func(c *schedulingv1.PriorityClass) { point(&c.PreemptionPolicy, corev1.PreemptLowerPriority) },
		Validate: validatePriorityClass,
		ValidateUpdate: func(c, old *schedulingv1.PriorityClass) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("value"), c.Value, old.Value)
			e.Immutable(field.NewPath("preemptionPolicy"), c.PreemptionPolicy, old.PreemptionPolicy)
			return e.List()
		},
		Columns: columns("Name|Value#|Global-Default|Age|PreemptionPolicy"),
		Cells: func(c *schedulingv1.PriorityClass, now time.Time) []any {
			return []any{c.Name, int64(c.Value), c.GlobalDefault, age(c.CreationTimestamp, now), orUnset(c.PreemptionPolicy)}
		},
	})
}

func validatePriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	var e check.Errors
	if strings.HasPrefix(c.Name, "system-") {
		if value, known := systemPriorities[c.Name]; !known || value != c.Value {
			e.Forbidden(field.NewPath("metadata", "name"), "priority class names with 'system-' prefix are reserved for system use only. error: "+
				fmt.Sprintf("%v is not a known system priority class", c.Name))
		}
	} else if c.Value > highestUserPriority {
		e.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", highestUserPriority))
	}
	check.OneOf(&e, field.NewPath("preemptionPolicy"), deref(c.PreemptionPolicy), corev1.PreemptLowerPriority, corev1.PreemptNever)
	return e.List()
}

func runtimeClass() *Kind {
	return define(Spec[*nodev1.RuntimeClass]{
		GVK: gvk("node.k8s.io", "v1", "RuntimeClass"), Resource: "runtimeclasses", Singular: "runtimeclass",
		New:     func() *nodev1.RuntimeClass { return &nodev1.RuntimeClass{} },
		NewList: func() runtime.Object { return &nodev1.RuntimeClassList{} },
		Validate: func(c *nodev1.RuntimeClass) field.ErrorList {
			var e check.Errors
			if e.NotEmpty(field.NewPath("handler"), c.Handler) {
				e.Messages(field.NewPath("handler"), c.Handler, content.IsDNS1123Label(c.Handler))
			}
			return e.List()
		},
		ValidateUpdate: func(c, old *nodev1.RuntimeClass) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("handler"), c.Handler, old.Handler)
			return e.List()
		},
		Columns: columns("Name|Handler|Age"),
		Cells: func(c *nodev1.RuntimeClass, now time.Time) []any {
			return []any{c.Name, c.Handler, age(c.CreationTimestamp, now)}
		},
	})
}
