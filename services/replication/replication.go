// Package replication is the service that turns workloads into pods: one controller a kind, in a folder of its own.
package replication

import (
	"context"

	"go.uber.org/zap"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/replication/autoscaler"
	"karve.dev/karve/services/replication/cronjob"
	"karve.dev/karve/services/replication/daemonset"
	"karve.dev/karve/services/replication/deployment"
	"karve.dev/karve/services/replication/disruption"
	"karve.dev/karve/services/replication/job"
	"karve.dev/karve/services/replication/replicaset"
	"karve.dev/karve/services/replication/replicationcontroller"
	"karve.dev/karve/services/replication/statefulset"
	"karve.dev/karve/services/replication/ttl"
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

// Service runs the workload controllers. Only one process of a cluster may run it at a time.
type Service struct {
	informers   *informer.Set
	controllers []reconcile.Runner
}

// New returns the service with all its controllers.
func New(c Config) *Service {
	log := c.Logger.Named("replication")
	return &Service{informers: c.Informers, controllers: []reconcile.Runner{
		deployment.New(c.Client, c.Informers, c.Events, log),
		replicaset.New(c.Client, c.Informers, c.Events, log),
		replicationcontroller.New(c.Client, c.Informers, c.Events, log),
		statefulset.New(c.Client, c.Informers, c.Events, log),
		daemonset.New(c.Client, c.Informers, c.Events, log),
		job.New(c.Client, c.Informers, c.Events, log),
		ttl.New(c.Client, c.Informers, log),
		cronjob.New(c.Client, c.Informers, c.Events, log),
		disruption.New(c.Client, c.Informers, c.Events, log),
		autoscaler.New(c.Client, c.Informers, c.Events, log),
	}}
}

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	return reconcile.Together(ctx, "replication", s.informers, s.controllers)
}
