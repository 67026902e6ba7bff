package registry

import (
	"encoding/json"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// What version 1 has no fields for travels in annotations.
const (
	metricsAnnotation        = "autoscaling.alpha.kubernetes.io/metrics"
	currentMetricsAnnotation = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsAnnotation     = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorAnnotation       = "autoscaling.alpha.kubernetes.io/behavior"
)

// autoscalerV1 is the HorizontalPodAutoscaler that knows only how busy the CPU shall be.
func autoscalerV1(hub *Kind) *Kind {
	return spoke[autoscalingv1.HorizontalPodAutoscaler, *autoscalingv1.HorizontalPodAutoscaler, *autoscalingv2.HorizontalPodAutoscaler]{
		gvk: gvk("autoscaling", "v1", "HorizontalPodAutoscaler"), hub: hub,
		newList: func() runtime.Object { return &autoscalingv1.HorizontalPodAutoscalerList{} },
		from:    autoscalerFromV2, to: autoscalerToV2,
	}.kind()
}

func autoscalerFromV2(h *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv1.HorizontalPodAutoscaler {
	out := &autoscalingv1.HorizontalPodAutoscaler{TypeMeta: h.TypeMeta, ObjectMeta: h.ObjectMeta}
	out.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(h.Spec.ScaleTargetRef), MinReplicas: h.Spec.MinReplicas, MaxReplicas: h.Spec.MaxReplicas,
	}
	out.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration: h.Status.ObservedGeneration, LastScaleTime: h.Status.LastScaleTime,
		CurrentReplicas: h.Status.CurrentReplicas, DesiredReplicas: h.Status.DesiredReplicas,
	}
	var others []autoscalingv2.MetricSpec
	for _, m := range h.Spec.Metrics {
		if out.Spec.TargetCPUUtilizationPercentage == nil && isCPU(m.Resource) {
			out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
			continue
		}
		others = append(others, m)
	}
	for _, m := range h.Status.CurrentMetrics {
		if m.Resource != nil && m.Resource.Name == corev1.ResourceCPU {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
	}
	annotations := withoutForm(h.Annotations)
	note(annotations, metricsAnnotation, metricsToV1(others), len(others) > 0)
	note(annotations, currentMetricsAnnotation, statusesToV1(h.Status.CurrentMetrics), len(h.Status.CurrentMetrics) > 0)
	note(annotations, conditionsAnnotation, h.Status.Conditions, len(h.Status.Conditions) > 0)
	note(annotations, behaviorAnnotation, h.Spec.Behavior, h.Spec.Behavior != nil)
	if out.Annotations = annotations; len(annotations) == 0 {
		out.Annotations = nil
	}
	return out
}

func isCPU(r *autoscalingv2.ResourceMetricSource) bool {
	return r != nil && r.Name == corev1.ResourceCPU && r.Target.AverageUtilization != nil
}

func autoscalerToV2(h *autoscalingv1.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
	out := &autoscalingv2.HorizontalPodAutoscaler{TypeMeta: h.TypeMeta, ObjectMeta: h.ObjectMeta}
	out.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(h.Spec.ScaleTargetRef), MinReplicas: h.Spec.MinReplicas, MaxReplicas: h.Spec.MaxReplicas,
	}
	out.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: h.Status.ObservedGeneration, LastScaleTime: h.Status.LastScaleTime,
		CurrentReplicas: h.Status.CurrentReplicas, DesiredReplicas: h.Status.DesiredReplicas,
	}
	if use := h.Spec.TargetCPUUtilizationPercentage; use != nil {
		out.Spec.Metrics = []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: use},
		}}}
	}
	// What cannot be read is as good as not there, as in Kubernetes.
	var others []autoscalingv1.MetricSpec
	if noted(h.Annotations, metricsAnnotation, &others) {
		out.Spec.Metrics = append(out.Spec.Metrics, metricsFromV1(others)...)
	}
	var current []autoscalingv1.MetricStatus
	if noted(h.Annotations, currentMetricsAnnotation, &current) {
		out.Status.CurrentMetrics = statusesFromV1(current)
	}
	noted(h.Annotations, conditionsAnnotation, &out.Status.Conditions)
	noted(h.Annotations, behaviorAnnotation, &out.Spec.Behavior)
	if out.Annotations = withoutForm(h.Annotations); len(out.Annotations) == 0 {
		out.Annotations = nil
	}
	return out
}

func withoutForm(annotations map[string]string) map[string]string {
	out := maps.Clone(annotations)
	if out == nil {
		out = map[string]string{}
	}
	for _, key := range []string{metricsAnnotation, currentMetricsAnnotation, conditionsAnnotation, behaviorAnnotation} {
		delete(out, key)
	}
	return out
}

func note(annotations map[string]string, key string, value any, there bool) {
	if !there {
		return
	}
	if text, err := json.Marshal(value); err == nil {
		annotations[key] = string(text)
	}
}

func noted(annotations map[string]string, key string, into any) bool {
	text, ok := annotations[key]
	return ok && json.Unmarshal([]byte(text), into) == nil
}
