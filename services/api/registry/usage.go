package registry

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// The kinds of this file tell what is used at present. They are found out whenever somebody asks.

const metricsGroup = "metrics.k8s.io"

var readOnly = []string{"get", "list"}

func nodeMetrics() *Kind {
	return define(Spec[*metricsv1beta1.NodeMetrics]{
		GVK: gvk(metricsGroup, "v1beta1", "NodeMetrics"), Resource: "nodes", Verbs: readOnly, Computed: true,
		New:     func() *metricsv1beta1.NodeMetrics { return &metricsv1beta1.NodeMetrics{} },
		NewList: func() runtime.Object { return &metricsv1beta1.NodeMetricsList{} },
		Columns: columns("Name|CPU|Memory|Window"),
		Cells: func(o *metricsv1beta1.NodeMetrics, _ time.Time) []any {
			return []any{o.Name, o.Usage.Cpu().String(), o.Usage.Memory().String(), o.Window.Duration.String()}
		},
	})
}

func podMetrics() *Kind {
	return define(Spec[*metricsv1beta1.PodMetrics]{
		GVK: gvk(metricsGroup, "v1beta1", "PodMetrics"), Resource: "pods", Namespaced: true, Verbs: readOnly, Computed: true,
		New:     func() *metricsv1beta1.PodMetrics { return &metricsv1beta1.PodMetrics{} },
		NewList: func() runtime.Object { return &metricsv1beta1.PodMetricsList{} },
		Columns: columns("Name|CPU|Memory|Window"),
		Cells: func(o *metricsv1beta1.PodMetrics, _ time.Time) []any {
			cpu, memory := resource.NewScaledQuantity(0, resource.Nano), resource.NewQuantity(0, resource.BinarySI)
			for _, c := range o.Containers {
				cpu.Add(c.Usage[corev1.ResourceCPU])
				memory.Add(c.Usage[corev1.ResourceMemory])
			}
			return []any{o.Name, cpu.String(), memory.String(), o.Window.Duration.String()}
		},
	})
}
