// Package lifecycle is the service that begins and ends things: default objects of new namespaces, the content of
// deleted ones, and garbage.
package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/lifecycle/aggregation"
	"karve.dev/karve/services/lifecycle/bootstrap"
	"karve.dev/karve/services/lifecycle/certificates"
	"karve.dev/karve/services/lifecycle/garbage"
	"karve.dev/karve/services/lifecycle/inventory"
	"karve.dev/karve/services/lifecycle/namespace"
	"karve.dev/karve/services/lifecycle/podgc"
	"karve.dev/karve/services/lifecycle/rootca"
	"karve.dev/karve/services/lifecycle/serviceaccount"
	"karve.dev/karve/services/lifecycle/token"
)

// Config of a Service.
type Config struct {
	// Client and Conn reach the API under the service's own name; Conn is for kinds that are known at run time only.
	Client *client.Client
	Conn   grpc.ClientConnInterface
	// Informers is the process's set; it runs after New.
	Informers *informer.Set
	// RootCA is the certificate (PEM) that clients in pods verify the API with.
	RootCA []byte
	Log    *zap.Logger
}

// Service runs the controllers.
type Service struct {
	informers   *informer.Set
	inventory   *inventory.Inventory
	controllers []interface {
		Run(ctx context.Context) error
	}
}

// New returns a service that is ready to run.
func New(config Config) (*Service, error) {
	if config.Client == nil || config.Conn == nil || config.Informers == nil {
		return nil, errors.New("lifecycle needs a client, a connection and informers")
	}
	log := config.Log
	if log == nil {
		log = zap.NewNop()
	}
	log = log.Named("lifecycle")
	s := &Service{informers: config.Informers, inventory: inventory.New(config.Conn, log)}
	s.controllers = append(s.controllers,
		serviceaccount.New(config.Client, config.Informers, log),
		namespace.New(config.Client, config.Informers, s.inventory, log),
		garbage.New(s.inventory, log),
		podgc.New(config.Client, config.Informers, log),
		aggregation.New(config.Client, config.Informers, log),
		certificates.New(config.Client, config.Informers, log),
		bootstrap.New(config.Client, config.Informers, log),
		token.New(config.Client, config.Informers, config.RootCA, log),
	)
	if len(config.RootCA) > 0 {
		s.controllers = append(s.controllers, rootca.New(config.Client, config.Informers, config.RootCA, log), rootca.NewBundle(config.Client, config.Informers, config.RootCA, log))
	}
	return s, nil
}

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.inventory.Run(ctx) })
	g.Go(func() error {
		if err := s.informers.WaitSynced(ctx); err != nil {
			return nil
		}
		var work errgroup.Group
		for _, c := range s.controllers {
			work.Go(func() error { return c.Run(ctx) })
		}
		return work.Wait()
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("lifecycle: %w", err)
	}
	return nil
}
