// Package usage finds out what nodes and pods use, for metrics.k8s.io: it asks the nodes' agents when somebody asks it,
// and keeps nothing.
package usage

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

const (
	// nodeTimeout bounds the answer of one node: one that is late is left out.
	nodeTimeout = 5 * time.Second
	// atOnce bounds the nodes that are asked at the same time for one answer.
	atOnce = 32
)

// Cluster is what is known of nodes and pods.
type Cluster interface {
	// Nodes returns those of a name, or all.
	Nodes(ctx context.Context, name string) ([]*corev1.Node, error)
	// Pods returns those of a namespace and name, or all, that labels choose.
	Pods(ctx context.Context, namespace, name string, chosen watch.Predicate) ([]*corev1.Pod, error)
}

// Dialer returns a connection to a node's agent, which it owns.
type Dialer interface {
	DialNode(ctx context.Context, node *corev1.Node) (grpc.ClientConnInterface, error)
}

// Usage asks nodes.
type Usage struct {
	cluster Cluster
	dialer  Dialer
	log     *zap.Logger
}

// New returns a Usage; dialer may be nil: no node is reached then.
func New(cluster Cluster, dialer Dialer, log *zap.Logger) *Usage {
	return &Usage{cluster: cluster, dialer: dialer, log: log.Named("usage")}
}

// ask returns what each node answered, by its name.
func (u *Usage) ask(ctx context.Context, nodes []*corev1.Node) map[string]*agentv1.UsageResponse {
	out := make(map[string]*agentv1.UsageResponse, len(nodes))
	if u.dialer == nil {
		return out
	}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, node := range nodes {
		group.Go(func() error {
			answer, err := u.askOne(ctx, node)
			if err != nil {
				u.log.Debug("node did not answer", zap.String("node", node.Name), zap.Error(err))
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			out[node.Name] = answer
			return nil
		})
	}
	_ = group.Wait() // nothing fails: nodes that do not answer are left out
	return out
}

func (u *Usage) askOne(ctx context.Context, node *corev1.Node) (*agentv1.UsageResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	conn, err := u.dialer.DialNode(ctx, node)
	if err != nil {
		return nil, err
	}
	return agentv1.NewFiguresServiceClient(conn).Usage(ctx, &agentv1.UsageRequest{})
}

// ready are the nodes worth asking.
func ready(nodes []*corev1.Node) []*corev1.Node {
	var out []*corev1.Node
	for _, n := range nodes {
		if conditions.NodeReady(n) {
			out = append(out, n)
		}
	}
	return out
}

func quantities(u *agentv1.ResourceUsage) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(u.GetCpuNanoCores(), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(u.GetMemoryBytes(), resource.BinarySI),
	}
}

// times are those of an answer; a window is told in whole milliseconds, as people read it.
func times(answer *agentv1.UsageResponse, window int64) (metav1.Time, metav1.Duration) {
	return metav1.NewTime(time.Unix(0, answer.GetTime())), metav1.Duration{Duration: time.Duration(window).Round(time.Millisecond)}
}

// Nodes is the source of NodeMetrics.
type Nodes struct{ *Usage }

// Objects implements server.Source.
func (u Nodes) Objects(ctx context.Context, _, name string, _ watch.Predicate) ([]registry.Object, error) {
	nodes, err := u.cluster.Nodes(ctx, name)
	if err != nil {
		return nil, err
	}
	answers := u.ask(ctx, ready(nodes))
	var out []registry.Object
	for _, n := range nodes {
		answer := answers[n.Name]
		if answer == nil {
			continue
		}
		m := &metricsv1beta1.NodeMetrics{Usage: quantities(answer.GetNode())}
		m.Name, m.Labels, m.CreationTimestamp = n.Name, n.Labels, metav1.Now()
		m.Timestamp, m.Window = times(answer, answer.GetWindow())
		out = append(out, m)
	}
	return out, nil
}
