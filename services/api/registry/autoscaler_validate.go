package registry

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// validateMetrics checks what an autoscaler goes by: to wake what has no pods it needs something outside them.
func validateMetrics(e *check.Errors, p *field.Path, s *autoscalingv2.HorizontalPodAutoscalerSpec) {
	outside := false
	for i := range s.Metrics {
		m := &s.Metrics[i]
		validateMetric(e, p.Index(i), m)
		outside = outside || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !outside {
		e.Forbidden(p, "must specify at least one Object or External metric to support scaling to zero replicas")
	}
}

// metricTypes are where a metric may come from.
var metricTypes = []autoscalingv2.MetricSourceType{autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
	autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType}

func validateMetric(e *check.Errors, p *field.Path, m *autoscalingv2.MetricSpec) {
	if m.Type == "" {
		e.Required(p.Child("type"), "must specify a metric source type")
	}
	known := check.Among(e, p.Child("type"), m.Type, metricTypes...)
	sources := []struct {
		name  string
		of    autoscalingv2.MetricSourceType
		set   bool
		check func(*field.Path)
	}{
		{"object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(p *field.Path) { validateObjectMetric(e, p, m.Object) }},
		{"external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(p *field.Path) { validateExternalMetric(e, p, m.External) }},
		{"pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(p *field.Path) { validatePodsMetric(e, p, m.Pods) }},
		{"resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(p *field.Path) {
			validateResourceMetric(e, p, string(m.Resource.Name), nil, &m.Resource.Target)
		}},
		{"containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil, func(p *field.Path) {
			validateResourceMetric(e, p, string(m.ContainerResource.Name), &m.ContainerResource.Container, &m.ContainerResource.Target)
		}},
	}
	set := 0
	for _, s := range sources {
		if s.set {
			set++
			s.check(p.Child(s.name))
		}
	}
	for _, s := range sources {
		switch {
		case known && s.of == m.Type && !s.set:
			e.Required(p.Child(s.name), "must populate information for the given metric source")
		case set > 1 && s.of != m.Type && s.set:
			e.Forbidden(p.Child(s.name), "must populate the given metric source only")
		}
	}
}

// validateReference checks how another object is named: by what can stand in an address.
func validateReference(e *check.Errors, p *field.Path, r *autoscalingv2.CrossVersionObjectReference) bool {
	if e.NotEmpty(p.Child("kind"), r.Kind) {
		e.Messages(p.Child("kind"), r.Kind, path.IsValidPathSegmentName(r.Kind))
	}
	if e.NotEmpty(p.Child("name"), r.Name) {
		e.Messages(p.Child("name"), r.Name, path.IsValidPathSegmentName(r.Name))
	}
	_, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil {
		e.Invalid(p.Child("apiVersion"), r.APIVersion, err.Error())
	}
	return err == nil
}

// validateScaled checks what is scaled, which unlike a metric's object must be of a group.
func validateScaled(e *check.Errors, p *field.Path, r *autoscalingv2.CrossVersionObjectReference) {
	if !validateReference(e, p, r) {
		return
	}
	gv, _ := schema.ParseGroupVersion(r.APIVersion)
	ofCore := r.Kind == "ReplicationController" && r.APIVersion == "v1"
	e.If(gv.Group == "" && !ofCore, p.Child("apiVersion"), r.APIVersion, "apiVersion must specify API group")
}

func validateMetricName(e *check.Errors, p *field.Path, m *autoscalingv2.MetricIdentifier) {
	at := p.Child("metric", "name")
	if m.Name == "" {
		e.Required(at, "must specify a metric name")
	}
	e.Messages(at, m.Name, path.IsValidPathSegmentName(m.Name))
}

// validateTarget checks the form of what is aimed at.
func validateTarget(e *check.Errors, p *field.Path, t *autoscalingv2.MetricTarget) {
	if t.Type == "" {
		e.Required(p.Child("type"), "must specify a metric target type")
	}
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		e.Invalid(p.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	if v := t.Value; v != nil {
		e.If(v.Sign() != 1, p.Child("value"), v, "must be positive")
	}
	if v := t.AverageValue; v != nil {
		e.If(v.Sign() != 1, p.Child("averageValue"), v, "must be positive")
	}
	if u := t.AverageUtilization; u != nil {
		e.If(*u < 1, p.Child("averageUtilization"), *u, "must be greater than 0")
	}
}

func validateObjectMetric(e *check.Errors, p *field.Path, m *autoscalingv2.ObjectMetricSource) {
	validateReference(e, p.Child("describedObject"), &m.DescribedObject)
	validateMetricName(e, p, &m.Metric)
	validateTarget(e, p.Child("target"), &m.Target)
	if m.Target.Value == nil && m.Target.AverageValue == nil {
		e.Required(p.Child("target", "averageValue"), "must set either a target value or averageValue")
	}
}

func validatePodsMetric(e *check.Errors, p *field.Path, m *autoscalingv2.PodsMetricSource) {
	validateMetricName(e, p, &m.Metric)
	validateTarget(e, p.Child("target"), &m.Target)
	if m.Target.AverageValue == nil || m.Target.AverageValue.Sign() != 1 {
		e.Required(p.Child("target", "averageValue"), "must specify a positive target averageValue")
	}
}

func validateExternalMetric(e *check.Errors, p *field.Path, m *autoscalingv2.ExternalMetricSource) {
	validateMetricName(e, p, &m.Metric)
	at := p.Child("target")
	validateTarget(e, at, &m.Target)
	switch t := &m.Target; {
	case t.Value == nil && t.AverageValue == nil:
		e.Required(at.Child("averageValue"), "must set either a target value for metric or a per-pod target")
	case t.Value != nil && t.AverageValue != nil:
		e.Forbidden(at.Child("value"), "may not set both a target value for metric and a per-pod target")
	}
}

// validateResourceMetric checks a metric of pods' resources, container being nil where it is of all their containers.
func validateResourceMetric(e *check.Errors, p *field.Path, resource string, container *string, t *autoscalingv2.MetricTarget) {
	if resource == "" {
		e.Required(p.Child("name"), "must specify a resource name")
	}
	if container != nil && *container == "" {
		e.Required(p.Child("container"), "must specify a container")
	}
	at := p.Child("target")
	validateTarget(e, at, t)
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		e.Required(at.Child("averageUtilization"), "must set either a target raw value or a target utilization")
	case t.AverageUtilization != nil && t.AverageValue != nil:
		e.Forbidden(at.Child("averageValue"), "may not set both a target raw value and a target utilization")
	}
}

// validateScaling checks how fast it goes in one direction.
func validateScaling(e *check.Errors, p *field.Path, r *autoscalingv2.HPAScalingRules) {
	const longestWindow, longestPeriod = 3600, 1800
	if r == nil {
		return
	}
	if w := r.StabilizationWindowSeconds; w != nil {
		at := p.Child("stabilizationWindowSeconds")
		e.If(*w < 0, at, *w, "must be greater than or equal to zero")
		e.If(*w > longestWindow, at, *w, fmt.Sprintf("must be less than or equal to %d", longestWindow))
	}
	if s := r.SelectPolicy; s != nil {
		check.Among(e, p.Child("selectPolicy"), *s, autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)
	}
	policies := p.Child("policies")
	if len(r.Policies) == 0 {
		e.Required(policies, "must specify at least one Policy")
	}
	for i, policy := range r.Policies {
		at := policies.Index(i)
		check.Among(e, at.Child("type"), policy.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		e.If(policy.Value <= 0, at.Child("value"), policy.Value, "must be greater than zero")
		e.If(policy.PeriodSeconds <= 0, at.Child("periodSeconds"), policy.PeriodSeconds, "must be greater than zero")
		e.If(policy.PeriodSeconds > longestPeriod, at.Child("periodSeconds"), policy.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", longestPeriod))
	}
	if t := r.Tolerance; t != nil {
		e.If(t.Sign() < 0, p.Child("tolerance"), t.String(), "must be greater than or equal to 0")
	}
}
