package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/process"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/openapi"
	"karve.dev/karve/services/api/store/etcdstore"
)

func openStore(ctx context.Context, dir cluster.Dir, settings cluster.Settings, log *zap.Logger) (*etcdstore.Store, error) {
	s, err := etcdstore.Open(ctx, etcdstore.Config{Name: settings.Name, DataDir: dir.Etcd(), Log: log.Named("etcd")})
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	return s, nil
}

// addStore ends the process when etcd ends: without it nothing is true any more.
func addStore(group *process.Group, store *etcdstore.Store) {
	group.Add(process.Component{Name: "etcd", Run: func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-store.Fatal():
			return fmt.Errorf("the embedded etcd has ended")
		}
	}})
}

func newAPI(dir cluster.Dir, settings cluster.Settings, keys *identity.Cluster, store *etcdstore.Store, nodes *nodeDialer, metrics *prometheus.Registry, log *zap.Logger, companions ...string) (*api.Server, error) {
	at, err := advertise(settings)
	if err != nil {
		return nil, err
	}
	config := api.Config{
		Store: store, EncryptionKeys: dir.EncryptionKeys(), Tokens: keys.Tokens, CA: keys.CAPEM(), OpenAPI: openapi.Document, Nodes: nodes,
		ServiceCIDRs: []netip.Prefix{settings.ServiceCIDR}, DNS: serviceAddr(settings, 10), Advertise: at,
		Companions: companions, Metrics: metrics, Gatherer: allMetrics(metrics), Log: log.Named("api"),
	}
	if config.FrontProxy, err = keys.FrontProxy(); err != nil {
		return nil, err
	}
	setAccess(&config, settings.Access)
	return api.New(config)
}

func apiComponent(s *api.Server, ready func()) process.Component {
	return process.Component{Name: "api", Run: s.Run, WaitReady: func(ctx context.Context) error {
		select {
		case <-s.Ready():
			ready()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

func grpcComponent(s *transport.Server, config *tls.Config, listeners ...net.Listener) process.Component {
	return process.Component{Name: "gRPC listener", Background: true, Run: func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		for _, lis := range listeners {
			g.Go(func() error { return s.Serve(ctx, lis, config) })
		}
		return g.Wait()
	}}
}
