package usage

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api/watch"
)

// cluster has two nodes with a pod each, and one that is not ready.
type cluster struct {
	mu    sync.Mutex
	asked []string
}

func node(name string, ready corev1.ConditionStatus) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"n": name}}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	return n
}

func (c *cluster) Nodes(_ context.Context, name string) ([]*corev1.Node, error) {
	var out []*corev1.Node
	for _, n := range []*corev1.Node{node("one", corev1.ConditionTrue), node("two", corev1.ConditionTrue), node("lost", corev1.ConditionUnknown)} {
		if name == "" || n.Name == name {
			out = append(out, n)
		}
	}
	return out, nil
}

func (c *cluster) Pods(_ context.Context, _, name string, _ watch.Predicate) ([]*corev1.Pod, error) {
	var out []*corev1.Pod
	for pod, on := range map[string]string{"a": "one", "b": "two", "new": "two"} {
		if name == "" || name == pod {
			out = append(out, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: pod, Labels: map[string]string{"app": pod}},
				Spec:       corev1.PodSpec{NodeName: on}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
			})
		}
	}
	return out, nil
}

// agent is a node's.
type agent struct {
	agentv1.UnimplementedFiguresServiceServer
	pod string
}

func (a *agent) Usage(context.Context, *agentv1.UsageRequest) (*agentv1.UsageResponse, error) {
	return &agentv1.UsageResponse{
		Time: time.Unix(100, 0).UnixNano(), Window: int64(10 * time.Second), Node: &agentv1.ResourceUsage{CpuNanoCores: 1_500_000_000, MemoryBytes: 1 << 30},
		Pods: []*agentv1.PodUsage{{Namespace: "default", Name: a.pod, Containers: []*agentv1.ContainerUsage{
			{Name: "app", Usage: &agentv1.ResourceUsage{CpuNanoCores: 250_000_000, MemoryBytes: 64 << 20}, Window: int64(10 * time.Second)},
			{Name: "side", Usage: &agentv1.ResourceUsage{}, Window: int64(3 * time.Second)},
		}}},
	}, nil
}

func (c *cluster) DialNode(_ context.Context, n *corev1.Node) (grpc.ClientConnInterface, error) {
	c.mu.Lock()
	c.asked = append(c.asked, n.Name)
	c.mu.Unlock()
	server := transport.NewServer(nil, nil)
	agentv1.RegisterFiguresServiceServer(server, &agent{pod: map[string]string{"one": "a", "two": "b"}[n.Name]})
	return server.Conn(identity.User{}), nil
}

// broken is a dialer that reaches nobody.
type broken struct{}

func (broken) DialNode(context.Context, *corev1.Node) (grpc.ClientConnInterface, error) {
	return nil, errors.New("no route")
}

func TestPods(t *testing.T) {
	c := &cluster{}
	all, err := Pods{New(c, c, zap.NewNop())}.Objects(context.Background(), "", "", watch.Predicate{})
	require.NoError(t, err)
	require.Len(t, all, 2, "a pod of which its node does not know yet is left out")
	c.asked = nil
	one, err := Pods{New(c, c, zap.NewNop())}.Objects(context.Background(), "default", "a", watch.Predicate{})
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, c.asked, "only the pod's node is asked")
	m := one[0].(*metricsv1beta1.PodMetrics)
	require.Equal(t, map[string]string{"app": "a"}, m.Labels)
	require.Equal(t, "250m", m.Containers[0].Usage.Cpu().String())
	require.Equal(t, "64Mi", m.Containers[0].Usage.Memory().String())
	require.Equal(t, 3*time.Second, m.Window.Duration, "that of the container that has just started")
	require.EqualValues(t, 100, m.Timestamp.Unix())
}

func TestNodes(t *testing.T) {
	c := &cluster{}
	all, err := Nodes{New(c, c, zap.NewNop())}.Objects(context.Background(), "", "", watch.Predicate{})
	require.NoError(t, err)
	require.Len(t, all, 2, "a node that is not ready is not asked")
	m := all[0].(*metricsv1beta1.NodeMetrics)
	require.Equal(t, "1500m", m.Usage.Cpu().String())
	require.Equal(t, "1Gi", m.Usage.Memory().String())
	require.Equal(t, map[string]string{"n": "one"}, m.Labels)
	for _, dialer := range []Dialer{nil, broken{}} {
		none, err := Nodes{New(c, dialer, zap.NewNop())}.Objects(context.Background(), "", "", watch.Predicate{})
		require.NoError(t, err)
		require.Empty(t, none)
	}
}
