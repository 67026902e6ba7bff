package preemption_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/plugin"
	"karve.dev/karve/services/scheduler/preemption"
	"karve.dev/karve/services/scheduler/snapshot"
)

func node(name string, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}, Spec: corev1.NodeSpec{Taints: taints},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourcePods: resource.MustParse("9")}},
	}
}

// pod asks for processors, has a priority, and started so many minutes after noon.
func pod(name, cpu string, priority int32, started int) *corev1.Pod {
	start := metav1.NewTime(time.Date(2030, 1, 1, 12, started, 0, 0, time.UTC))
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": name[:1]}},
		Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
		}}}},
		Status: corev1.PodStatus{StartTime: &start},
	}
}

func budget(app string, allowed int32) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed},
	}
}

type on map[string][]*corev1.Pod

func TestVictims(t *testing.T) {
	never := corev1.PreemptNever
	incoming := func(cpu string) *corev1.Pod { return pod("new", cpu, 100, 0) }
	patient := incoming("4")
	patient.Spec.PreemptionPolicy = &never
	port := func(p *corev1.Pod) *corev1.Pod {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}}
		return p
	}
	for name, c := range map[string]struct {
		nodes   []*corev1.Node
		pods    on
		pod     *corev1.Pod
		budgets []*policyv1.PodDisruptionBudget
		node    string
		victims []string
		why     string
	}{
		"as few as will do":        {pods: on{"n1": {pod("a", "1", 0, 0), pod("b", "3", 0, 0)}}, pod: incoming("2"), node: "n1", victims: []string{"b"}},
		"the youngest":             {pods: on{"n1": {pod("a", "2", 0, 5), pod("b", "2", 0, 1)}}, pod: incoming("2"), node: "n1", victims: []string{"a"}},
		"the least important":      {pods: on{"n1": {pod("a", "2", 10, 5), pod("b", "2", 5, 1)}}, pod: incoming("2"), node: "n1", victims: []string{"b"}},
		"those that budgets allow": {pods: on{"n1": {pod("a", "2", 0, 5), pod("b", "2", 0, 1)}}, pod: incoming("2"), budgets: []*policyv1.PodDisruptionBudget{budget("a", 0)}, node: "n1", victims: []string{"b"}},
		"a budget if it must be":   {pods: on{"n1": {pod("a", "4", 0, 5)}}, pod: incoming("2"), budgets: []*policyv1.PodDisruptionBudget{budget("a", 0)}, node: "n1", victims: []string{"a"}},
		"a node without budgets":   {pods: on{"n1": {pod("a", "4", 0, 5)}, "n2": {pod("b", "4", 50, 5)}}, pod: incoming("2"), budgets: []*policyv1.PodDisruptionBudget{budget("a", 0)}, node: "n2", victims: []string{"b"}},
		"the lower priority":       {pods: on{"n1": {pod("a", "4", 20, 5)}, "n2": {pod("b", "4", 10, 5)}}, pod: incoming("2"), node: "n2", victims: []string{"b"}},
		"fewer":                    {pods: on{"n1": {pod("a", "2", 0, 5), pod("b", "2", 0, 5)}, "n2": {pod("c", "4", 0, 1)}}, pod: incoming("4"), node: "n2", victims: []string{"c"}},
		"the node's later start":   {pods: on{"n1": {pod("a", "4", 0, 1)}, "n2": {pod("b", "4", 0, 9)}}, pod: incoming("4"), node: "n2", victims: []string{"b"}},
		"who has the port":         {pods: on{"n1": {port(pod("a", "1", 0, 1)), pod("b", "1", 0, 1)}}, pod: port(incoming("1")), node: "n1", victims: []string{"a"}},
		"nobody of the same":       {pods: on{"n1": {pod("a", "4", 100, 5)}}, pod: incoming("2"), why: "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		"nobody helps":             {pods: on{"n1": {pod("a", "1", 0, 5), pod("b", "3", 100, 5)}}, pod: incoming("2"), why: "preemption: 0/1 nodes are available: 1 Insufficient cpu."},
		"a taint stays": {nodes: []*corev1.Node{node("n1", corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule})}, pods: on{"n1": {pod("a", "4", 0, 5)}}, pod: incoming("2"),
			why: "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."},
		"more than there is": {pods: on{"n1": {pod("a", "4", 0, 5)}}, pod: incoming("5"), why: "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."},
		"never":              {pods: on{"n1": {pod("a", "4", 0, 5)}}, pod: patient, why: "preemption: not eligible due to preemptionPolicy=Never."},
	} {
		t.Run(name, func(t *testing.T) {
			snap := snapshot.New()
			for _, n := range c.nodes {
				snap.SetNode(n)
			}
			for _, n := range []string{"n1", "n2"} {
				if c.pods[n] != nil && snap.Node(n) == nil {
					snap.SetNode(node(n))
				}
				for _, p := range c.pods[n] {
					snap.Place(snapshot.NewPod(p), n)
				}
			}
			before := snap.Node("n1").Requested
			p := snapshot.NewPod(c.pod)
			d := framework.Decide(plugin.Default(), snap, p, 0)
			require.Nil(t, d.Node)
			got, why := preemption.Solve(preemption.Problem{Plugins: plugin.Default(), Snapshot: snap, Pod: p, Decision: d, Budgets: c.budgets})
			require.Equal(t, c.why, why)
			require.Equal(t, before, snap.Node("n1").Requested, "the snapshot is as before")
			if c.node == "" {
				require.Nil(t, got)
				return
			}
			require.Equal(t, c.node, got.Node.Name)
			var names []string
			for _, v := range got.Victims {
				names = append(names, v.Object.Name)
			}
			require.Equal(t, c.victims, names)
		})
	}
}

// TestNobodyGoesWhereThePodFitsByNow: volumes come and claims are bound between a decision and the search for victims.
func TestNobodyGoesWhereThePodFitsByNow(t *testing.T) {
	snap := snapshot.New()
	for _, n := range []string{"n1", "n2"} {
		snap.SetNode(node(n))
		snap.Place(snapshot.NewPod(pod(n, "4", 0, 0)), n)
	}
	p := snapshot.NewPod(pod("new", "2", 100, 0))
	d := framework.Decide(plugin.Default(), snap, p, 0)
	require.Nil(t, d.Node)
	for _, n := range []string{"n1", "n2"} {
		snap.Place(snapshot.NewPod(pod(n, "1", 0, 0)), n)
	}
	got, why := preemption.Solve(preemption.Problem{Plugins: plugin.Default(), Snapshot: snap, Pod: p, Decision: d})
	require.Nil(t, got)
	require.Equal(t, "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.", why)
}
