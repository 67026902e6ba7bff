package registry

import (
	"fmt"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func horizontalPodAutoscaler() *Kind {
	return define(Spec[*autoscalingv2.HorizontalPodAutoscaler]{
		GVK: gvk("autoscaling", "v2", "HorizontalPodAutoscaler"), Resource: "horizontalpodautoscalers", Singular: "horizontalpodautoscaler",
		ShortNames: []string{"hpa"}, Categories: []string{"all"}, Namespaced: true,
		New:     func() *autoscalingv2.HorizontalPodAutoscaler { return &autoscalingv2.HorizontalPodAutoscaler{} },
		NewList: func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscalerList{} },
		Life: generations(func(o *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv2.HorizontalPodAutoscalerSpec, *autoscalingv2.HorizontalPodAutoscalerStatus) {
			return &o.Spec, &o.Status
		}),
		Default:  defaultAutoscaler,
		Validate: validateAutoscaler,
		Columns:  columns("Name|Reference|Targets|MinPods|MaxPods#|Replicas#|Age"),
		Cells: func(h *autoscalingv2.HorizontalPodAutoscaler, now time.Time) []any {
			least := "<unset>"
			if m := h.Spec.MinReplicas; m != nil {
				least = fmt.Sprintf("%d", *m)
			}
			return []any{h.Name, h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name, autoscalerTargets(h), least,
				int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), age(h.CreationTimestamp, now)}
		},
	})
}

func defaultAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) {
	const cpu = 80
	s := &h.Spec
	point(&s.MinReplicas, 1)
	if len(s.Metrics) == 0 {
		use := int32(cpu)
		s.Metrics = []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &use},
		}}}
	}
	if s.Behavior == nil {
		return
	}
	// Who says something about how to scale gets the rest said too: up at once and fast, down after a while.
	const window = 15
	for _, rules := range []**autoscalingv2.HPAScalingRules{&s.Behavior.ScaleUp, &s.Behavior.ScaleDown} {
		if *rules == nil {
			*rules = &autoscalingv2.HPAScalingRules{}
		}
		point(&(*rules).SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	}
	up, down := s.Behavior.ScaleUp, s.Behavior.ScaleDown
	point(&up.StabilizationWindowSeconds, 0)
	if up.Policies == nil {
		up.Policies = []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: window}, {Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: window}}
	}
	if down.Policies == nil {
		down.Policies = []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: window}}
	}
}

func validateAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &h.Spec
	if m := s.MinReplicas; m != nil {
		e.AtLeast(p.Child("minReplicas"), int64(*m), 0)
	}
	e.If(s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas, p.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	validateScaled(&e, p.Child("scaleTargetRef"), &s.ScaleTargetRef)
	validateMetrics(&e, p.Child("metrics"), s)
	if b := s.Behavior; b != nil {
		validateScaling(&e, p.Child("behavior", "scaleUp"), b.ScaleUp)
		validateScaling(&e, p.Child("behavior", "scaleDown"), b.ScaleDown)
	}
	if s.MaxReplicas == 0 {
		e.Required(p.Child("maxReplicas"), "")
	} else {
		e.AtLeast(p.Child("maxReplicas"), int64(s.MaxReplicas), 1)
	}
	return e.List()
}

// autoscalerTargets shows "current/target" of each metric, the first two and how many more there are.
func autoscalerTargets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	const shown = 2
	if len(h.Spec.Metrics) == 0 {
		return none
	}
	var all []string
	for i := range h.Spec.Metrics {
		now := &autoscalingv2.MetricStatus{}
		if i < len(h.Status.CurrentMetrics) {
			now = &h.Status.CurrentMetrics[i]
		}
		all = append(all, metricTarget(&h.Spec.Metrics[i], now))
	}
	if len(all) > shown {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:shown], ", "), len(all)-shown)
	}
	return strings.Join(all, ", ")
}

func metricTarget(m *autoscalingv2.MetricSpec, now *autoscalingv2.MetricStatus) string {
	pair := func(name string, t autoscalingv2.MetricTarget, c *autoscalingv2.MetricValueStatus) string {
		if c == nil {
			c = &autoscalingv2.MetricValueStatus{}
		}
		current, target := unknown, ""
		switch {
		case t.AverageUtilization != nil:
			target = fmt.Sprintf("%d%%", *t.AverageUtilization)
			if c.AverageUtilization != nil {
				current = fmt.Sprintf("%d%%", *c.AverageUtilization)
			}
		case t.AverageValue != nil:
			target = t.AverageValue.String()
			if c.AverageValue != nil {
				current = c.AverageValue.String()
			}
		case t.Value != nil:
			target = t.Value.String()
			if c.Value != nil {
				current = c.Value.String()
			}
		}
		return name + current + "/" + target
	}
	switch {
	case m.Resource != nil:
		return pair(string(m.Resource.Name)+": ", m.Resource.Target, current(now.Resource, func(r *autoscalingv2.ResourceMetricStatus) *autoscalingv2.MetricValueStatus { return &r.Current }))
	case m.ContainerResource != nil:
		return pair(string(m.ContainerResource.Name)+": ", m.ContainerResource.Target,
			current(now.ContainerResource, func(r *autoscalingv2.ContainerResourceMetricStatus) *autoscalingv2.MetricValueStatus {
				return &r.Current
			}))
	case m.Pods != nil:
		return pair("", m.Pods.Target, current(now.Pods, func(r *autoscalingv2.PodsMetricStatus) *autoscalingv2.MetricValueStatus { return &r.Current }))
	case m.Object != nil:
		return pair("", m.Object.Target, current(now.Object, func(r *autoscalingv2.ObjectMetricStatus) *autoscalingv2.MetricValueStatus { return &r.Current }))
	case m.External != nil:
		return pair("", m.External.Target, current(now.External, func(r *autoscalingv2.ExternalMetricStatus) *autoscalingv2.MetricValueStatus { return &r.Current }))
	}
	return "<unknown type>"
}

func current[T any](status *T, value func(*T) *autoscalingv2.MetricValueStatus) *autoscalingv2.MetricValueStatus {
	if status == nil {
		return nil
	}
	return value(status)
}
