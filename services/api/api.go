// Package api is the API service: the only part of Karve that touches the store. Everything else is a gRPC client of
// it.
package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/alloc"
	"karve.dev/karve/services/api/authn"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/encryption"
	"karve.dev/karve/services/api/node"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/watch"
)

// Config makes a Server.
type Config struct {
	// Store is opened and closed by the caller.
	Store store.Store
	// EncryptionKeys is the file of the keys that Secrets are encrypted with; it is made when it is not there. Empty
	// stores them as they are.
	EncryptionKeys string
	// Tokens returns what signs and verifies service-account tokens; identity.Cluster's method of that name does.
	Tokens func() (*identity.Tokens, error)
	// ServiceCIDRs are the ranges of cluster IPs, one or one per family; the first address of the first is the API's.
	// Default 10.96.0.0/16.
	ServiceCIDRs []netip.Prefix
	// NodePorts is the range of node ports; default 30000-32767.
	NodePorts alloc.PortRange
	// Advertise is where pods reach the API over HTTPS: the endpoint of the Service "kubernetes". Not valid: none.
	Advertise netip.AddrPort
	// Kinds are what is served; nil for all of the registry.
	Kinds []*registry.Kind
	// OpenAPI returns the documents of discovery; nil for none.
	OpenAPI server.OpenAPI
	// Nodes reaches the nodes' agents, for logs and exec; nil answers that none can be reached.
	Nodes server.NodeDialer
	// Metrics takes the service's metrics, Gatherer is what SystemService shows; nil for none.
	Metrics  prometheus.Registerer
	Gatherer prometheus.Gatherer
	// Log is nil for none.
	Log *zap.Logger
}

// Server is the API service of one process.
type Server struct {
	config    Config
	cache     *watch.Cache
	encrypted *encryption.Store
	authn     *authn.Authenticator
	authz     *authz.Authorizer
	resources *server.Server
	nodes     *node.Service
	intercept *server.Interceptors
	health    *health.Server
	ready     chan struct{}
}

// New returns an API service that answers once Run runs.
func New(config Config) (*Server, error) {
	if config.Store == nil {
		return nil, errors.New("the API service needs a store")
	}
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	if config.Kinds == nil {
		config.Kinds = registry.All()
	}
	if len(config.ServiceCIDRs) == 0 {
		config.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
	}
	if config.NodePorts == (alloc.PortRange{}) {
		config.NodePorts = alloc.PortRange{First: 30000, Last: 32767}
	}
	encrypted, err := encrypt(&config)
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, encrypted: encrypted, ready: make(chan struct{}), health: health.NewServer()}
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	s.cache = watch.New(watch.Config{Store: config.Store, Log: config.Log})
	objects := &objects{s}
	s.authz = authz.New(authz.Config{Pods: objects})
	s.authn = authn.New(authn.Config{Tokens: config.Tokens, Objects: objects, Log: config.Log})
	plugins := func(r admission.Reader) admission.Chain { return append(admission.Default(r), s.authz.Admission()) }
	allocator, err := alloc.New(alloc.Config{
		Store: config.Store, ClusterIPs: config.ServiceCIDRs, NodePorts: config.NodePorts, Used: s.usesIP,
		Sync: func(ctx context.Context) error { return s.resources.Sync(ctx) },
	})
	if err != nil {
		return nil, err
	}
	s.resources, err = server.New(context.Background(), server.Config{
		Store: config.Store, Cache: s.cache, Kinds: config.Kinds, Authorizer: s.authz, Admission: plugins,
		Hooks:  map[schema.GroupKind]server.Hook{{Kind: "Service"}: allocator},
		Tokens: config.Tokens, ReviewToken: s.authn.ReviewToken, RulesFor: s.authz.RulesFor, Log: config.Log,
	})
	if err != nil {
		return nil, err
	}
	s.nodes = node.New(s.resources, config.Log)
	metrics, err := server.NewMetrics(config.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register the API's metrics: %w", err)
	}
	s.intercept = server.NewInterceptors(s.authenticate, metrics, config.Log)
	return s, nil
}

func (s *Server) authenticate(ctx context.Context) (identity.User, error) {
	caller, err := s.authn.Authenticate(ctx)
	if err != nil {
		return identity.User{}, err
	}
	return authn.Impersonate(ctx, s.authz, caller)
}

// Interceptors are what every call to the API runs in: the process's transport.Server is made with them.
func (s *Server) Interceptors() (grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor) {
	return s.intercept.Unary, s.intercept.Stream
}

// Register adds the API's services.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	apiv1.RegisterResourceServiceServer(r, s.resources)
	apiv1.RegisterDiscoveryServiceServer(r, server.NewDiscovery(s.resources, s.config.OpenAPI))
	systemv1.RegisterSystemServiceServer(r, &server.System{Server: s.resources, Checks: s.checks(), Metrics: s.config.Gatherer})
	s.nodes.Register(r)
	agentv1.RegisterPodAccessServiceServer(r, &server.PodAccess{Server: s.resources, Nodes: s.config.Nodes})
	healthv1.RegisterHealthServer(r, s.health)
	if described, ok := r.(reflection.ServiceInfoProvider); ok {
		options := reflection.ServerOptions{Services: described}
		reflectionv1.RegisterServerReflectionServer(r, reflection.NewServerV1(options))
	}
}

// checks are what /readyz and /livez show.
func (s *Server) checks() []server.Check {
	return []server.Check{
		{Name: "store", Run: func(ctx context.Context) error {
			_, err := s.config.Store.Revision(ctx)
			return err
		}},
		{Name: "watch-cache", Ready: true, Run: func(context.Context) error { return closed(s.cache.Ready()) }},
		{Name: "bootstrap", Ready: true, Run: func(context.Context) error { return closed(s.ready) }},
	}
}

var errNotYet = errors.New("not finished yet")

func closed(ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	default:
		return errNotYet
	}
}

// Acks returns what the nodes have acknowledged of their assignments and Services.
func (s *Server) Acks() *node.Acks { return s.nodes.Acks() }

// Ready is closed when the API answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, s.resources.Stop)
	loaded := make(chan struct{})
	g.Go(func() error { return s.cache.Run(ctx) })
	g.Go(func() error {
		if !await(ctx, s.cache.Ready()) {
			return nil
		}
		return s.nodes.Run(ctx)
	})
	g.Go(func() error {
		if !await(ctx, s.cache.Ready()) {
			return nil
		}
		return s.feedPolicy(ctx, loaded)
	})
	g.Go(func() error {
		if !await(ctx, s.cache.Ready()) {
			return nil
		}
		if err := s.bootstrap(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if !await(ctx, loaded) {
			return nil
		}
		s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
		close(s.ready)
		s.encryptAnew(ctx)
		return nil
	})
	err := g.Wait()
	s.health.Shutdown()
	return err
}

func await(ctx context.Context, ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	case <-ctx.Done():
		return false
	}
}
