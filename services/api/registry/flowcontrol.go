package registry

import (
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func flowSchema() *Kind {
	return define(Spec[*flowcontrolv1.FlowSchema]{
		GVK: gvk("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"), Resource: "flowschemas", Singular: "flowschema",
		New:     func() *flowcontrolv1.FlowSchema { return &flowcontrolv1.FlowSchema{} },
		NewList: func() runtime.Object { return &flowcontrolv1.FlowSchemaList{} },
		Life: generations(func(o *flowcontrolv1.FlowSchema) (*flowcontrolv1.FlowSchemaSpec, *flowcontrolv1.FlowSchemaStatus) {
			return &o.Spec, &o.Status
		}),
		Default: func(f *flowcontrolv1.FlowSchema) { set(&f.Spec.MatchingPrecedence, 1000) },
		Validate: func(f *flowcontrolv1.FlowSchema) field.ErrorList {
			const last = 10000
			var e check.Errors
			p := field.NewPath("spec")
			e.If(f.Spec.MatchingPrecedence <= 0, p.Child("matchingPrecedence"), f.Spec.MatchingPrecedence, "must be a positive value")
			e.If(f.Spec.MatchingPrecedence > last, p.Child("matchingPrecedence"), f.Spec.MatchingPrecedence, fmt.Sprintf("must not be greater than %d", last))
			if d := f.Spec.DistinguisherMethod; d != nil {
				check.Among(&e, p.Child("distinguisherMethod", "type"), d.Type, flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)
			}
			level := p.Child("priorityLevelConfiguration", "name")
			if name := f.Spec.PriorityLevelConfiguration.Name; name == "" {
				e.Required(level, "must reference a priority level")
			} else {
				e.Subdomain(level, name)
			}
			return e.List()
		},
		Columns: columns("Name|PriorityLevel|MatchingPrecedence#|DistinguisherMethod|Age|MissingPL"),
		Cells: func(f *flowcontrolv1.FlowSchema, now time.Time) []any {
			method, missing := none, "?"
			if d := f.Spec.DistinguisherMethod; d != nil {
				method = string(d.Type)
			}
			for _, c := range f.Status.Conditions {
				if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
					missing = string(c.Status)
				}
			}
			return []any{f.Name, f.Spec.PriorityLevelConfiguration.Name, int64(f.Spec.MatchingPrecedence), method, age(f.CreationTimestamp, now), missing}
		},
	})
}

func priorityLevelConfiguration() *Kind {
	return define(Spec[*flowcontrolv1.PriorityLevelConfiguration]{
		GVK:      gvk("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration"),
		Resource: "prioritylevelconfigurations", Singular: "prioritylevelconfiguration",
		New:     func() *flowcontrolv1.PriorityLevelConfiguration { return &flowcontrolv1.PriorityLevelConfiguration{} },
		NewList: func() runtime.Object { return &flowcontrolv1.PriorityLevelConfigurationList{} },
		Life: generations(func(o *flowcontrolv1.PriorityLevelConfiguration) (*flowcontrolv1.PriorityLevelConfigurationSpec, *flowcontrolv1.PriorityLevelConfigurationStatus) {
			return &o.Spec, &o.Status
		}),
		Default:  defaultPriorityLevel,
		Validate: validatePriorityLevel,
		Columns:  columns("Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age"),
		Cells: func(c *flowcontrolv1.PriorityLevelConfiguration, now time.Time) []any {
			var shares, queues, hand, length any = none, none, none, none
			if l := c.Spec.Limited; l != nil {
				shares = deref(l.NominalConcurrencyShares)
				if q := l.LimitResponse.Queuing; q != nil {
					queues, hand, length = q.Queues, q.HandSize, q.QueueLengthLimit
				}
			} else if x := c.Spec.Exempt; x != nil {
				shares = deref(x.NominalConcurrencyShares)
			}
			return []any{c.Name, string(c.Spec.Type), shares, queues, hand, length, age(c.CreationTimestamp, now)}
		},
	})
}

func defaultPriorityLevel(c *flowcontrolv1.PriorityLevelConfiguration) {
	if x := c.Spec.Exempt; x != nil {
		point(&x.NominalConcurrencyShares, 0)
		point(&x.LendablePercent, 0)
	}
	l := c.Spec.Limited
	if l == nil {
		return
	}
	point(&l.NominalConcurrencyShares, 30)
	point(&l.LendablePercent, 0)
	if q := l.LimitResponse.Queuing; q != nil {
		set(&q.Queues, 64)
		set(&q.HandSize, 8)
		set(&q.QueueLengthLimit, 50)
	}
}
