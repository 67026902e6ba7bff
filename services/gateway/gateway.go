// Package gateway is the HTTPS face of a cluster: the only place that knows HTTP. It translates the Kubernetes REST API
// into calls of the API service and the answers back. It decides nothing: who may do what, what is valid and what is
// stored is the API service's; the gateway forwards the caller's credentials with every call.
package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	apiversion "k8s.io/apimachinery/pkg/version"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/fair"
	"karve.dev/karve/internal/version"
	"karve.dev/karve/services/gateway/proxy"
	"karve.dev/karve/services/gateway/stream"
)

// Config is what a gateway needs. API is required; for Serve and Run so is TLS.
type Config struct {
	// API is the connection to the API service, made as identity.UserGateway: the API believes only that caller's word
	// on whose client certificate it has verified.
	API grpc.ClientConnInterface
	// TLS holds the server's certificate and, as ClientCAs, who signs client certificates. The gateway chooses the rest.
	TLS *tls.Config
	// Addr is where Run listens, ":6443" when empty.
	Addr string
	// Version is what /version says; the zero value stands for this build's.
	Version apiversion.Info
	// Audit says that the API service records calls: it is then told of the HTTP requests that they are made for.
	Audit bool
	// Metrics registers the gateway's own metrics besides serving them at /metrics; may be nil.
	Metrics prometheus.Registerer
	// Logger may be nil.
	Logger *zap.Logger

	// MaxInFlight and MaxMutatingInFlight bound the requests that run at once, those that read and those that write, as
	// kube-apiserver's flags of these names do. Zero means 400 and 200.
	MaxInFlight, MaxMutatingInFlight int
	// RequestTimeout bounds every request that is not a watch or a stream. Zero means one minute.
	RequestTimeout time.Duration
}

// Gateway serves the Kubernetes REST API. Make it with New.
type Gateway struct {
	cfg       Config
	log       *zap.Logger
	resources apiv1.ResourceServiceClient
	discovery apiv1.DiscoveryServiceClient
	system    systemv1.SystemServiceClient
	streams   *stream.Server
	tunnels   apiv1.TunnelServiceClient
	proxy     *proxy.Proxy

	kinds       *kinds
	metrics     *metrics
	reads       *fair.Limiter
	writes      *fair.Limiter
	version     []byte
	credentials *verifier

	// drained is done as soon as the gateway shuts down: it ends watches and streams at once.
	drained context.Context
	drain   context.CancelFunc
	running inflight
}

// New returns a gateway that is ready to serve once Serve, Run or Sync runs.
func New(cfg Config) (*Gateway, error) {
	if cfg.API == nil {
		return nil, fmt.Errorf("gateway: no connection to the API service")
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	setDefaults(&cfg)
	info, err := json.MarshalIndent(cfg.Version, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("gateway: encode the version: %w", err)
	}
	reads, writes := newLimiter(cfg.MaxInFlight), newLimiter(cfg.MaxMutatingInFlight)
	m, err := newMetrics(cfg.Metrics, reads, writes)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		cfg: cfg, log: cfg.Logger, version: info, metrics: m, kinds: newKinds(),
		resources:   apiv1.NewResourceServiceClient(cfg.API),
		discovery:   apiv1.NewDiscoveryServiceClient(cfg.API),
		system:      systemv1.NewSystemServiceClient(cfg.API),
		reads:       reads,
		writes:      writes,
		credentials: newVerifier(cfg.TLS),
	}
	g.drained, g.drain = context.WithCancel(context.Background())
	g.streams = stream.New(agentv1.NewPodAccessServiceClient(cfg.API), g.log)
	g.tunnels = apiv1.NewTunnelServiceClient(cfg.API)
	g.proxy = proxy.New(g.tunnels, g.failProxied, g.log)
	return g, nil
}

func setDefaults(cfg *Config) {
	if cfg.Version == (apiversion.Info{}) {
		cfg.Version = version.Info()
	}
	if cfg.Addr == "" {
		cfg.Addr = ":6443"
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = 400
	}
	if cfg.MaxMutatingInFlight == 0 {
		cfg.MaxMutatingInFlight = 200
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = time.Minute
	}
}

// Handler returns the gateway as a handler. Requests for resources wait for Sync's first answer.
func (g *Gateway) Handler() http.Handler { return g }

// Sync follows what the API serves until ctx ends. Serve and Run call it.
func (g *Gateway) Sync(ctx context.Context) error { return g.kinds.follow(ctx, g.discovery, g.log) }

// Run listens on the configured address and serves until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", g.cfg.Addr)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return g.Serve(ctx, lis)
}

// WaitReady blocks until the gateway knows what the API serves.
func (g *Gateway) WaitReady(ctx context.Context) error {
	select {
	case <-g.kinds.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Serve accepts TLS connections on each lis, which it closes, until ctx ends. A gateway serves once: when ctx ends, watches
// and streams end at once, other requests may finish within two seconds, and everything it started has ended when it
// returns.
func (g *Gateway) Serve(ctx context.Context, lis ...net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Sync(ctx) })
	group.Go(func() error { return g.serveHTTP(ctx, lis) })
	return group.Wait()
}
