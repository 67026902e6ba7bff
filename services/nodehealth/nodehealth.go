// Package nodehealth watches over nodes: it takes their heartbeats, keeps their Leases, turns silence into the Ready
// condition Unknown, conditions into taints, and NoExecute taints into evictions.
//
// Heartbeats live in memory. A healthy, idle node costs one small write a minute, that of its Lease, and every fifth minute
// one of its conditions' times: for those who look there whether it lives.
package nodehealth

import (
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

// Recorder records Kubernetes events; *events.Recorder is one.
type Recorder interface {
	Event(obj client.Object, eventType, reason, format string, args ...any)
}

// Config is what the service needs. Zero durations get the defaults that they name.
type Config struct {
	Client    *client.Client
	Informers *informer.Set
	Events    Recorder
	Logger    *zap.Logger
	// Beat is how often nodes are asked to send a heartbeat: 10 s.
	Beat time.Duration
	// Grace is the silence after which a node counts as gone: 40 s, as Kubernetes' node-monitor-grace-period.
	Grace time.Duration
	// LeaseEvery is how often a Lease is renewed at most: one minute.
	LeaseEvery time.Duration
	// ConditionsEvery is how often the heartbeat times of a Node's conditions are renewed at most: five minutes, as kubelets
	// do.
	ConditionsEvery time.Duration
}

// Service is node health. Make it with New, register it, then Run it.
type Service struct {
	nodev1.UnimplementedHeartbeatServiceServer
	cfg   Config
	beats *beats

	nodes  *informer.Informer[*corev1.Node]
	pods   *informer.Informer[*corev1.Pod]
	leases *informer.Informer[*coordinationv1.Lease]

	health    *reconcile.Controller
	evictions *reconcile.Controller
}

const (
	leaseNamespace = "kube-node-lease"
	podsByNode     = "spec.nodeName"
	workers        = 4
)

// New prepares the service; it registers for what it needs with cfg.Informers.
func New(cfg Config) *Service {
	cfg.Beat = orDefault(cfg.Beat, 10*time.Second)
	cfg.Grace = orDefault(cfg.Grace, 40*time.Second)
	cfg.LeaseEvery = orDefault(cfg.LeaseEvery, time.Minute)
	cfg.ConditionsEvery = orDefault(cfg.ConditionsEvery, 5*time.Minute)
	s := &Service{
		cfg:    cfg,
		beats:  newBeats(),
		nodes:  informer.For[*corev1.Node](cfg.Informers),
		pods:   informer.For[*corev1.Pod](cfg.Informers),
		leases: informer.For[*coordinationv1.Lease](cfg.Informers),
	}
	s.pods.AddIndex(podsByNode, func(p *corev1.Pod) []string { return []string{p.Spec.NodeName} })
	s.health = reconcile.New("node-health", workers, s.reconcileNode, cfg.Logger)
	s.evictions = reconcile.New("taint-eviction", workers, s.reconcileEvictions, cfg.Logger)
	s.nodes.OnChange(s.onNode)
	s.pods.OnChange(s.onPod)
	s.leases.OnChange(s.onLease)
	return s
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// Register adds the service's gRPC methods to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { nodev1.RegisterHeartbeatServiceServer(r, s) }

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.cfg.Informers.WaitSynced(ctx); err != nil {
		return nil //nolint:nilerr // ctx ended before there was anything to do
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.health.Run(ctx) })
	g.Go(func() error { return s.evictions.Run(ctx) })
	return g.Wait()
}

func nodeKey(name string) informer.Key { return informer.Key{Name: name} }

func (s *Service) onNode(old, node *corev1.Node) {
	if node == nil {
		s.beats.forget(old.Name)
		return
	}
	// A status written by whoever runs the node is a sign of life, also without our stream. Ready is never ours to say.
	// Of a node with our stream, the beats say when it was heard of, and what is written of them is no further sign.
	_, streaming := s.beats.read(node.Name)
	if !streaming && readyHeartbeat(node).After(readyHeartbeat(old)) || conditions.NodeReady(node) && (old == nil || !conditions.NodeReady(old)) {
		s.beats.seen(node.Name, time.Now())
	}
	s.health.Enqueue(nodeKey(node.Name))
	if hasNoExecute(node.Spec.Taints) || old != nil && hasNoExecute(old.Spec.Taints) {
		s.evictions.Enqueue(nodeKey(node.Name))
	}
}

// onPod keeps evictions up with pods that arrive on a node that has NoExecute taints already.
func (s *Service) onPod(_, pod *corev1.Pod) {
	if pod == nil || pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil {
		return
	}
	if node, ok := s.nodes.Get("", pod.Spec.NodeName); ok && hasNoExecute(node.Spec.Taints) {
		s.evictions.Enqueue(nodeKey(node.Name))
	}
}

// onLease takes a renewal by somebody else (a node without our stream) as a sign of life.
func (s *Service) onLease(old, lease *coordinationv1.Lease) {
	if lease == nil || lease.Namespace != leaseNamespace || lease.Spec.RenewTime == nil {
		return
	}
	if old != nil && old.Spec.RenewTime != nil && !lease.Spec.RenewTime.After(old.Spec.RenewTime.Time) {
		return
	}
	if s.beats.seen(lease.Name, time.Now()) {
		s.health.Enqueue(nodeKey(lease.Name))
	}
}

func hasNoExecute(taints []corev1.Taint) bool {
	for _, t := range taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			return true
		}
	}
	return false
}

func readyHeartbeat(node *corev1.Node) time.Time {
	if node == nil {
		return time.Time{}
	}
	if c := conditions.Node(node, corev1.NodeReady); c != nil {
		return c.LastHeartbeatTime.Time
	}
	return time.Time{}
}
