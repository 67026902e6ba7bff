// Package storage is the service that looks after persistent volumes: it binds claims, makes local folders, reclaims
// what is no longer claimed, and keeps what is in use.
package storage

import (
	"context"

	"go.uber.org/zap"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/storage/binder"
	"karve.dev/karve/services/storage/ephemeral"
	"karve.dev/karve/services/storage/protection"
	"karve.dev/karve/services/storage/provision"
)

// Config is what the service needs.
type Config struct {
	Client *client.Client
	// Informers must not run before New has returned.
	Informers *informer.Set
	// Events may be nil: then nothing is recorded.
	Events *events.Recorder
	Logger *zap.Logger
}

// Service runs the controllers. Only one process of a cluster may run it at a time.
type Service struct {
	client      *client.Client
	informers   *informer.Set
	controllers []reconcile.Runner
}

// New returns the service with all its controllers.
func New(c Config) *Service {
	log := c.Logger.Named("storage")
	s := &Service{client: c.Client, informers: c.Informers}
	provisioner := provision.New(c.Client, c.Informers, c.Events, log)
	s.controllers = append(s.controllers,
		provisioner,
		binder.New(c.Client, c.Informers, c.Events, provisioner, log),
		protection.New(c.Client, c.Informers, log),
		ephemeral.New(c.Client, c.Informers, c.Events, log),
		&standardClass{client: c.Client, log: log},
	)
	return s
}

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	return reconcile.Together(ctx, "storage", s.informers, s.controllers)
}
