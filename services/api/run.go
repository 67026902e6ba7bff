package api

import (
	"context"

	"golang.org/x/sync/errgroup"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, s.resources.Stop)
	policy := make(chan struct{})
	g.Go(func() error { return s.cache.Run(ctx) })
	after(ctx, g, s.cache.Ready(), func() error { return s.feedPolicy(ctx, policy) })
	after(ctx, g, s.cache.Ready(), func() error { return s.nodes.Run(ctx) })
	after(ctx, g, s.cache.Ready(), func() error { return s.extension.Run(ctx) })
	after(ctx, g, s.extension.Synced(), func() error { return s.policies.Run(ctx) })
	after(ctx, g, s.cache.Ready(), func() error { return s.others.Run(ctx) })
	after(ctx, g, s.cache.Ready(), func() error { return s.begin(ctx, policy) })
	after(ctx, g, s.ready, func() error { return s.expireEvents(ctx) })
	after(ctx, g, s.ready, func() error { return s.noteTokenUse(ctx) })
	after(ctx, g, s.ready, func() error { return s.quotas.Run(ctx) })
	endAudit := s.recordCalls()
	err := g.Wait()
	s.health.Shutdown()
	endAudit()
	return err
}

// recordCalls writes the records of calls until the returned function is called, after everything else has ended.
func (s *Server) recordCalls() (end func()) {
	if s.intercept.Audit == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var writer errgroup.Group
	writer.Go(func() error { return s.intercept.Audit.Run(ctx) })
	return func() {
		cancel()
		_ = writer.Wait()
	}
}

// begin makes what every cluster has and opens the service.
func (s *Server) begin(ctx context.Context, policy <-chan struct{}) error {
	if err := s.bootstrap(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	if !await(ctx, policy) || !await(ctx, s.extension.Synced()) {
		return nil
	}
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	close(s.ready)
	s.encryptAnew(ctx)
	return nil
}

// after runs fn in the group once ready is closed.
func after(ctx context.Context, g *errgroup.Group, ready <-chan struct{}, fn func() error) {
	g.Go(func() error {
		if !await(ctx, ready) {
			return nil
		}
		return fn()
	})
}

func await(ctx context.Context, ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	case <-ctx.Done():
		return false
	}
}
