// Package proxy is the node's Service proxy: it follows Services, EndpointSlices and Nodes on an assignment stream,
// decides what the node balances (package desired), has a dataplane write it into the kernel, and acknowledges what
// is programmed.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/internal/client"
)

// Recorder writes Kubernetes Events; it must not block.
type Recorder interface {
	Event(obj client.Object, eventType, reason, format string, args ...any)
}

// Config is what a Proxy needs.
type Config struct {
	// Cluster and NodeName name what the proxy makes in the kernel.
	Cluster, NodeName string
	// Conn reaches AssignmentService as system:node:<NodeName>.
	Conn grpc.ClientConnInterface
	// Backend is "auto" (or empty), "nftables" or "ipvs".
	Backend string
	// ClusterCIDRs are the ranges of all pods, ServiceCIDRs those of cluster IPs.
	ClusterCIDRs, ServiceCIDRs []netip.Prefix
	// NodePortAddresses limits the host's addresses on which node ports answer; empty means all.
	NodePortAddresses []netip.Prefix
	// DNS makes the node answer the cluster's DNS; nil leaves that to others.
	DNS *DNSConfig
	// Logger, Events and Metrics may be nil.
	Logger  *zap.Logger
	Events  Recorder
	Metrics prometheus.Registerer
}

// Proxy programs one node's Services.
type Proxy struct {
	config  Config
	log     *zap.Logger
	backend backend
	metrics *metrics
	cluster *cluster
	dns     *nodeDNS // nil: none

	// What follows belongs to Run's goroutine.
	plane     dataplane.Dataplane
	session   *session
	acked     map[dataplane.ServiceKey]programmed
	ackedTo   int64
	reported  map[dataplane.ServiceKey]string
	pending   bool // something changed since the last Apply
	lastApply time.Time
	failures  int
}

// New chooses a backend by asking the kernel what it can do. It changes nothing yet.
func New(config Config) (*Proxy, error) {
	if config.Cluster == "" || config.NodeName == "" || config.Conn == nil {
		return nil, errors.New("proxy: Cluster, NodeName and Conn are needed")
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	b, err := choose(config.Backend)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(config.Metrics)
	if err != nil {
		return nil, fmt.Errorf("proxy metrics: %w", err)
	}
	p := &Proxy{
		config: config, log: config.Logger.With(zap.String("backend", b.name)), backend: b, metrics: m,
		cluster: newCluster(config.NodeName), reported: map[dataplane.ServiceKey]string{},
	}
	if config.DNS != nil {
		if p.dns, err = newNodeDNS(config); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Backend returns the name of the backend that is in use.
func (p *Proxy) Backend() string { return p.backend.name }

func (p *Proxy) identity() dataplane.Identity {
	return dataplane.Identity{Cluster: p.config.Cluster, Node: p.config.NodeName}
}

// Run follows the cluster until ctx ends. What is programmed stays, so that connections go on and the next process
// adopts it; Cleanup removes it.
func (p *Proxy) Run(ctx context.Context) error {
	plane, err := p.backend.open(ctx, options{p.identity(), dataplane.Networks{
		Pods: p.config.ClusterCIDRs, Services: p.config.ServiceCIDRs, NodePorts: p.config.NodePortAddresses,
	}, p.log})
	if err != nil {
		return fmt.Errorf("open the %s dataplane: %w", p.backend.name, err)
	}
	p.plane = plane
	ctx, cancel := context.WithCancel(ctx)
	news := make(chan news, newsBuffer)
	var running sync.WaitGroup
	running.Go(func() { p.follow(ctx, news) })
	if p.dns != nil {
		running.Go(func() { p.dns.run(ctx) })
	}
	p.loop(ctx, news)
	cancel()
	running.Wait()
	if err := plane.Close(); err != nil {
		return fmt.Errorf("close the %s dataplane: %w", p.backend.name, err)
	}
	return nil
}
