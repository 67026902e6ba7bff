package usage

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// Pods is the source of PodMetrics.
type Pods struct{ *Usage }

// Objects implements server.Source. Only nodes with a pod that is asked for are asked.
func (u Pods) Objects(ctx context.Context, namespace, name string, chosen watch.Predicate) ([]registry.Object, error) {
	pods, err := u.cluster.Pods(ctx, namespace, name, chosen)
	if err != nil {
		return nil, err
	}
	nodes, err := u.nodesOf(ctx, pods)
	if err != nil {
		return nil, err
	}
	type used struct {
		pod    *agentv1.PodUsage
		answer *agentv1.UsageResponse
	}
	byName := map[types.NamespacedName]used{}
	for _, answer := range u.ask(ctx, ready(nodes)) {
		for _, p := range answer.GetPods() {
			byName[types.NamespacedName{Namespace: p.GetNamespace(), Name: p.GetName()}] = used{p, answer}
		}
	}
	var out []registry.Object
	for _, pod := range pods {
		if use, ok := byName[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}]; ok {
			out = append(out, podMetrics(pod, use.pod, use.answer))
		}
	}
	return out, nil
}

// nodesOf are the nodes that pods run on.
func (u Pods) nodesOf(ctx context.Context, pods []*corev1.Pod) ([]*corev1.Node, error) {
	wanted := map[string]bool{}
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodRunning && pod.Spec.NodeName != "" {
			wanted[pod.Spec.NodeName] = true
		}
	}
	var out []*corev1.Node
	all, err := u.cluster.Nodes(ctx, "")
	for _, n := range all {
		if wanted[n.Name] {
			out = append(out, n)
		}
	}
	return out, err
}

// podMetrics tells the shortest window of a pod's containers: all figures are at least as recent as that says.
func podMetrics(pod *corev1.Pod, use *agentv1.PodUsage, answer *agentv1.UsageResponse) *metricsv1beta1.PodMetrics {
	m := &metricsv1beta1.PodMetrics{}
	m.Namespace, m.Name, m.Labels, m.CreationTimestamp = pod.Namespace, pod.Name, pod.Labels, metav1.Now()
	window := answer.GetWindow()
	for _, c := range use.GetContainers() {
		m.Containers = append(m.Containers, metricsv1beta1.ContainerMetrics{Name: c.GetName(), Usage: quantities(c.GetUsage())})
		window = min(window, c.GetWindow())
	}
	m.Timestamp, m.Window = times(answer, window)
	return m
}
