// Package network is the service that tells who answers for each Service, and which addresses each node's pods get.
package network

import (
	"context"
	"fmt"
	"net/netip"

	"go.uber.org/zap"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/network/endpoints"
	"karve.dev/karve/services/network/mirror"
	"karve.dev/karve/services/network/nodedns"
	"karve.dev/karve/services/network/podcidr"
)

// Config is what the service needs.
type Config struct {
	Client *client.Client
	// Informers must not run before New has returned.
	Informers *informer.Set
	// Events may be nil: then nothing is recorded.
	Events *events.Recorder
	Logger *zap.Logger
	// ClusterCIDR is the range of all pods' addresses; NodeMask is the prefix length of a node's part of it, 24 when 0
	// (64 for IPv6).
	ClusterCIDR netip.Prefix
	NodeMask    int
}

// Service runs the network controllers. Only one process of a cluster may run it at a time.
type Service struct {
	informers   *informer.Set
	controllers []reconcile.Runner
}

// New returns the service with all its controllers.
func New(c Config) (*Service, error) {
	log := c.Logger.Named("network")
	mask := c.NodeMask
	if mask == 0 {
		mask = 24
		if c.ClusterCIDR.Addr().Is6() {
			mask = 64
		}
	}
	ranges, err := podcidr.New(c.Client, c.Informers, c.Events, log, c.ClusterCIDR, mask)
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	return &Service{informers: c.Informers, controllers: []reconcile.Runner{
		ranges,
		endpoints.New(c.Client, c.Informers, c.Events, log),
		mirror.New(c.Client, c.Informers, log),
		nodedns.New(c.Client, c.Informers, log),
	}}, nil
}

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	return reconcile.Together(ctx, "network", s.informers, s.controllers)
}
