// Package api is the API service: the only part of Karve that touches the store. Everything else is a gRPC client of
// it.
package api

import (
	"context"
	"errors"
	"fmt"

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
	"karve.dev/karve/services/api/admission/policy"
	"karve.dev/karve/services/api/aggregator"
	"karve.dev/karve/services/api/alloc"
	"karve.dev/karve/services/api/audit"
	"karve.dev/karve/services/api/authn"
	"karve.dev/karve/services/api/authn/oidc"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/encryption"
	"karve.dev/karve/services/api/extension"
	"karve.dev/karve/services/api/maintenance"
	"karve.dev/karve/services/api/managedfields"
	"karve.dev/karve/services/api/node"
	"karve.dev/karve/services/api/quota"
	"karve.dev/karve/services/api/reach"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/watch"
	"karve.dev/karve/services/api/webhook"
)

// Server is the API service of one process.
type Server struct {
	config    Config
	cache     *watch.Cache
	encrypted *encryption.Store
	maintain  *maintenance.Service
	authn     *authn.Authenticator
	authz     *authz.Authorizer
	resources *server.Server
	quotas    *quota.Ledger
	reach     *reach.Reacher
	webhooks  *webhook.Client
	fields    *managedfields.Tracker
	policies  *policy.Plugin
	nodes     *node.Service
	extension *extension.Extensions
	others    *aggregator.Aggregator
	intercept *server.Interceptors
	present   *presence
	health    *health.Server
	tokenUse  *tokenUse
	// anonymous says what callers without credentials may ask for; nil: whatever they have the right to.
	anonymous func(path string) bool
	ready     chan struct{}
}

// New returns an API service that answers once Run runs.
func New(config Config) (*Server, error) {
	if config.Store == nil {
		return nil, errors.New("the API service needs a store")
	}
	config.setDefaults()
	raw := config.Store
	encrypted, err := encrypt(&config)
	if err != nil {
		return nil, err
	}
	hold := maintenance.Wrap(config.Store)
	config.Store = hold
	s := &Server{config: config, encrypted: encrypted, ready: make(chan struct{}), health: health.NewServer(), present: newPresence(), tokenUse: newTokenUse()}
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	s.fields = &managedfields.Tracker{Schema: extension.Types}
	s.webhooks = webhook.New(s.dialService)
	s.cache = watch.New(watch.Config{Store: config.Store, Log: config.Log})
	objects := &objects{s}
	s.authz = authz.New(authz.Config{Pods: objects, Kinds: objects.Served, Issuer: s.issuer})
	if err := s.newAuthenticator(objects); err != nil {
		return nil, err
	}
	if err := s.newResources(); err != nil {
		return nil, err
	}
	s.maintain = maintenance.New(maintenance.Config{
		Raw: raw, Hold: hold, Encrypted: encrypted, KeyFile: config.EncryptionKeys, Authorize: s.resources.AuthorizePath, Restored: s.bootstrap, Log: config.Log,
	})
	s.reach = reach.New(s.resources, config.Nodes)
	s.nodes = node.New(s.resources, config.Log)
	s.extension = extension.New(extension.Config{Resources: s.resources, BuiltIn: config.Kinds, Webhooks: s.webhooks, Log: config.Log})
	s.others = s.newAggregator()
	metrics, err := server.NewMetrics(config.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register the API's metrics: %w", err)
	}
	s.intercept = server.NewInterceptors(s.authenticate, metrics, config.Log)
	return s, s.newAudit()
}

// newAudit makes the record of calls, if there is to be one.
func (s *Server) newAudit() (err error) {
	if s.config.Audit == nil {
		return nil
	}
	audited := *s.config.Audit
	audited.Log, audited.Metrics = s.config.Log, s.config.Metrics
	s.intercept.Audit, err = audit.New(audited)
	return err
}

// newAuthenticator makes what names callers.
func (s *Server) newAuthenticator(objects *objects) error {
	config := authn.Config{Tokens: s.config.Tokens, Audiences: s.config.Audiences, Objects: objects, SecretUsed: s.tokenUse.used, Log: s.config.Log}
	if s.config.OIDC != nil {
		outside := *s.config.OIDC
		outside.Log = s.config.Log
		if s.config.Tokens != nil {
			own, err := s.config.Tokens()
			if err != nil {
				return err
			}
			outside.OwnIssuers = []string{own.Issuer()}
		}
		issuers, err := oidc.New(outside)
		if err != nil {
			return err
		}
		config.Issuers, s.anonymous = issuers, issuers.Anonymous
	}
	if s.config.NoAnonymous {
		s.anonymous = func(string) bool { return false }
	}
	s.authn = authn.New(config)
	return nil
}

// newResources makes the request chain.
func (s *Server) newResources() error {
	allocator, err := alloc.New(alloc.Config{
		Store: s.config.Store, ClusterIPs: s.config.ServiceCIDRs, NodePorts: s.config.NodePorts, Used: s.usesIP,
		Sync: func(ctx context.Context) error { return s.resources.Sync(ctx) },
	})
	if err != nil {
		return err
	}
	s.quotas = quota.New(quota.Config{Store: s.config.Store, Objects: quotaed{s}, Log: s.config.Log})
	s.resources, err = server.New(context.Background(), server.Config{
		Store: s.config.Store, Cache: s.cache, Kinds: s.config.Kinds, Authorizer: s.authz,
		Admission: func(r admission.Reader) admission.Chain {
			return admission.Default(r, append([]admission.Plugin{s.authz.Admission()}, s.dynamic(r.(*server.Server))...)...)
		},
		Hooks:   map[schema.GroupKind]server.Hook{{Kind: "Service"}: allocator},
		Ledger:  s.quotas,
		Fields:  s.fields,
		Sources: s.sources(),
		Tokens:  s.config.Tokens, ReviewToken: s.authn.ReviewToken, RulesFor: s.authz.RulesFor, Elsewhere: s.elsewhere, Anonymous: s.anonymous, Audiences: s.config.Audiences, Log: s.config.Log,
	})
	return err
}

func (s *Server) authenticate(ctx context.Context) (identity.User, error) {
	caller, err := s.authn.Authenticate(ctx)
	if err != nil {
		return identity.User{}, err
	}
	audit.From(ctx).Caller(caller)
	return authn.Impersonate(ctx, s.authz, caller)
}

// Interceptors are what every call to the API runs in: the process's transport.Server is made with them.
func (s *Server) Interceptors() (grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor) {
	return s.intercept.Unary, s.present.watch(s.intercept.Stream)
}

// Register adds the API's services.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	apiv1.RegisterResourceServiceServer(r, s.resources)
	apiv1.RegisterDiscoveryServiceServer(r, server.NewDiscovery(s.resources, s.others.OpenAPI(s.extension.OpenAPI(s.config.OpenAPI)), s.others))
	systemv1.RegisterSystemServiceServer(r, &server.System{Server: s.resources, Checks: s.checks(), Metrics: s.config.Gatherer})
	systemv1.RegisterMaintenanceServiceServer(r, s.maintain)
	systemv1.RegisterIssuerServiceServer(r, &server.Issuer{Server: s.resources})
	s.nodes.Register(r)
	apiv1.RegisterTunnelServiceServer(r, s.tunnel())
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
		{Name: "etcd", Run: func(ctx context.Context) error {
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

// Reach connects to what runs in the cluster, on behalf of the API service itself.
func (s *Server) Reach() *reach.Reacher { return s.reach }

// Ready is closed when the API answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }
