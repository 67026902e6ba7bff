package node_test

import (
	"context"
	"fmt"
	goruntime "runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime/simulated"
	"karve.dev/karve/internal/client"
)

// simulate runs an agent that only pretends, until the test ends.
func simulate(t testing.TB, p *plane, rt *simulated.Runtime, name string, change ...func(*node.Config)) *node.Agent {
	conn := p.conn(name)
	cfg := node.Config{
		Cluster: "sim", NodeName: name, DataDir: t.TempDir(), Conn: conn, HealthConn: conn, Client: client.New(conn, "kubelet"),
		Runtime: rt, Log: zap.NewNop(), Events: p, Metrics: p.metrics,
	}
	for _, f := range change {
		f(&cfg)
	}
	agent, err := node.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return agent
}

func nodeReady(p *plane) *corev1.NodeCondition {
	if p.node == nil {
		return nil
	}
	for i := range p.node.Status.Conditions {
		if c := &p.node.Status.Conditions[i]; c.Type == corev1.NodeReady {
			return c
		}
	}
	return nil
}

func TestNodeRegistersAndIsReadySoon(t *testing.T) {
	p := newPlane(t, "10.233.1.0/24")
	begun := time.Now()
	simulate(t, p, simulated.New(), "sim-1")
	p.until("the node is ready", func() bool {
		c := nodeReady(p)
		return c != nil && c.Status == corev1.ConditionTrue
	})
	t.Logf("ready after %s", time.Since(begun))
	n := p.node
	require.Equal(t, "KubeletReady", nodeReady(p).Reason)
	require.Equal(t, "sim-1", n.Labels[corev1.LabelHostname])
	require.Equal(t, goruntime.GOARCH, n.Labels[corev1.LabelArchStable])
	require.Equal(t, "v1.37.2+karve", n.Status.NodeInfo.KubeletVersion)
	require.Equal(t, "simulated://1", n.Status.NodeInfo.ContainerRuntimeVersion)
	require.EqualValues(t, 110, n.Status.Capacity.Pods().Value())
	require.EqualValues(t, goruntime.NumCPU(), n.Status.Allocatable.Cpu().Value())
	require.NotZero(t, n.Status.DaemonEndpoints.KubeletEndpoint.Port)
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		require.NotNil(t, condition(n, kind), kind)
	}

	// Somebody calls the node lost: it says that it is not.
	p.mu.Lock()
	lost := p.node.DeepCopy()
	condition(lost, corev1.NodeReady).Status = corev1.ConditionUnknown
	p.node = lost
	p.set("Node", lost)
	p.mu.Unlock()
	p.until("the node is ready again", func() bool { return nodeReady(p).Status == corev1.ConditionTrue })
}

func condition(n *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == kind {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// gather returns the metrics' values, of histograms their counts.
func (p *plane) gather() map[string]float64 {
	families, err := p.metrics.Gather()
	require.NoError(p.t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

// TestQuietPodsSleep: a node that pretends forgets its quiet pods, and nobody can tell.
func TestQuietPodsSleep(t *testing.T) {
	p, rt := newPlane(t, "10.233.6.0/24"), simulated.New()
	simulate(t, p, rt, "sim-6")
	for _, name := range []string{"ends", "crashes", "stays"} {
		p.create(pod(name, corev1.Container{}))
	}
	was := map[string]*corev1.Pod{}
	for _, name := range []string{"ends", "crashes", "stays"} {
		was[name] = p.wait(name, "running", running)
	}
	<-time.After(7 * time.Second) // by then they sleep
	rt.Exit(idOf(was["crashes"]), 1)
	p.delete("ends", 1)
	p.wait("crashes", "restarted", restarted(1))
	p.wait("ends", "gone", gone)
	require.Equal(t, was["stays"], p.wait("stays", "running", running), "the same is not reported again")
	require.Equal(t, was["crashes"].Status.PodIP, p.wait("crashes", "running", running).Status.PodIP)
}

func TestSimulatedPods(t *testing.T) {
	p, rt := newPlane(t, "10.233.2.0/24"), simulated.New()
	simulate(t, p, rt, "sim-2")
	const pods = 100
	for i := range pods {
		p.create(pod(fmt.Sprintf("pod-%d", i), corev1.Container{}))
	}
	for i := range pods {
		p.wait(fmt.Sprintf("pod-%d", i), "running", running)
	}
	require.Equal(t, map[string]float64{
		"kubelet_desired_pods": pods, "kubelet_running_pods": pods, "kubelet_running_containers": pods, "kubelet_pod_start_duration_seconds": pods,
		"kubelet_started_pods_total": pods, "kubelet_started_containers_total": pods, "kubelet_started_pods_errors_total": 0,
	}, p.gather())
	rt.Exit(idOf(p.wait("pod-7", "running", running)), 1)
	p.wait("pod-7", "restarted", restarted(1))
	for i := range pods {
		p.delete(fmt.Sprintf("pod-%d", i), 1)
	}
	for i := range pods {
		p.wait(fmt.Sprintf("pod-%d", i), "gone", gone)
	}
}
