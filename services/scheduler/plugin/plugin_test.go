package plugin_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/plugin"
	"karve.dev/karve/services/scheduler/snapshot"
)

const zoneLabel = "topology.kubernetes.io/zone"

type nodeOption func(*corev1.Node)

func taint(key string, effect corev1.TaintEffect) nodeOption {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: "yes", Effect: effect})
	}
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

func label(k, v string) nodeOption { return func(n *corev1.Node) { n.Labels[k] = v } }

func node(name string, opts ...nodeOption) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	for _, o := range opts {
		o(n)
	}
	return n
}

type podOption func(*corev1.Pod)

func cpu(q string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
	}
}

func antiAffinity(app, key string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
				LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, TopologyKey: key,
			}},
		}}
	}
}

func spread(skew int32, key string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": p.Labels["app"]}},
		}}
	}
}

func hostPort(port int32) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: port, ContainerPort: port}}
	}
}

func pod(name string, opts ...podOption) *snapshot.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}}}
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	for _, o := range opts {
		o(p)
	}
	return snapshot.NewPod(p)
}

func world(nodes ...*corev1.Node) *snapshot.Snapshot {
	s := snapshot.New()
	for _, n := range nodes {
		s.SetNode(n)
	}
	return s
}

func TestReasonsInTheWordsOfKubernetes(t *testing.T) {
	full := pod("full", cpu("3500m"), hostPort(80), antiAffinity("web", corev1.LabelHostname))
	tests := []struct {
		name  string
		nodes []*corev1.Node
		pod   *snapshot.Pod
		want  string
	}{
		{"no nodes", nil, pod("p"), "no nodes available to schedule pods"},
		{"too big", []*corev1.Node{node("a"), node("b")}, pod("p", cpu("5")), "0/2 nodes are available: 2 Insufficient cpu."},
		{
			"each for its own reason", []*corev1.Node{node("a", taint("gpu", corev1.TaintEffectNoSchedule)), node("b", cordoned), node("c")}, pod("p", cpu("5")),
			"0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.",
		},
		{"port taken", []*corev1.Node{node("a")}, pod("p", hostPort(80), func(p *corev1.Pod) { p.Labels = nil }), "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
		{"avoided by a neighbour", []*corev1.Node{node("a")}, pod("p"), "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."},
		{"selector", []*corev1.Node{node("a")}, pod("p", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }), "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := world(tt.nodes...)
			if len(tt.nodes) > 0 {
				s.Place(full, "a")
			}
			d := framework.Decide(plugin.Default(), s, tt.pod, 0)
			require.Nil(t, d.Node)
			require.Equal(t, tt.want, framework.Summary(len(s.Nodes()), d.Verdicts))
		})
	}
}

func TestSpreadKeepsTheSkew(t *testing.T) {
	s := world(node("a", label(zoneLabel, "1")), node("b", label(zoneLabel, "1")), node("c", label(zoneLabel, "2")))
	zones := map[string]int{}
	for i := range 20 {
		p := pod(fmt.Sprint("p", i), spread(1, zoneLabel))
		d := framework.Decide(plugin.Default(), s, p, 0)
		require.NotNil(t, d.Node)
		s.Place(p, d.Node.Name)
		zones[d.Node.Object.Labels[zoneLabel]]++
		require.LessOrEqual(t, max(zones["1"], zones["2"])-min(zones["1"], zones["2"]), 1)
	}
}

func TestAntiAffinityPlacesOnePerNodeThenRefuses(t *testing.T) {
	s := world(node("a"), node("b"))
	for i := range 3 {
		p := pod(fmt.Sprint("p", i), antiAffinity("web", corev1.LabelHostname))
		d := framework.Decide(plugin.Default(), s, p, 0)
		if i == 2 {
			require.Nil(t, d.Node)
			continue
		}
		require.NotNil(t, d.Node)
		s.Place(p, d.Node.Name)
	}
	s.Remove("p0")
	require.NotNil(t, framework.Decide(plugin.Default(), s, pod("p3", antiAffinity("web", corev1.LabelHostname)), 0).Node)
}

func TestPodsWithoutRequestsSpreadOverNodes(t *testing.T) {
	s := world(node("a"), node("b"), node("c"))
	for i := range 9 {
		p := pod(fmt.Sprint("p", i))
		s.Place(p, framework.Decide(plugin.Default(), s, p, 0).Node.Name)
	}
	for _, n := range s.Nodes() {
		require.Len(t, n.Pods, 3, n.Name)
	}
}

func BenchmarkDecide1000Nodes(b *testing.B) {
	variants := map[string][]podOption{"basic": {cpu("100m")}, "spread": {spread(5, zoneLabel)}, "antiaffinity": {antiAffinity("web", corev1.LabelHostname)}}
	for name, opts := range variants {
		b.Run(name, func(b *testing.B) {
			s := snapshot.New()
			for i := range 1000 {
				s.SetNode(node(fmt.Sprint("n", i), label(zoneLabel, fmt.Sprint(i%3))))
			}
			start, n := 0, 0
			for b.Loop() {
				p := pod(fmt.Sprint("p", n), opts...)
				d := framework.Decide(plugin.Default(), s, p, start)
				start = d.Next
				if d.Node != nil && n < 900 {
					s.Place(p, d.Node.Name)
				}
				n++
			}
		})
	}
}

// TestWhatLacksIsSaidInOrder: what is written into a pod's status must not differ from one attempt to the next.
func TestWhatLacksIsSaidInOrder(t *testing.T) {
	s := snapshot.New()
	s.SetNode(node("n1"))
	p := pod("p", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{}
		for _, name := range []corev1.ResourceName{"x.org/a", "x.org/b", "x.org/c", "x.org/d"} {
			p.Spec.Containers[0].Resources.Requests[name] = resource.MustParse("1")
		}
	})
	for range 20 {
		require.Equal(t, "Insufficient x.org/a", framework.Fits(plugin.Default(), s, p, s.Node("n1")).Message)
	}
}
