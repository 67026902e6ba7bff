package reconcile

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"karve.dev/karve/internal/informer"
)

// Runner is a controller: Run works until ctx ends and returns after everything that it started.
type Runner interface {
	Run(ctx context.Context) error
}

// Together runs the controllers of a service, once the informers are synced, until ctx ends or one of them fails. Its errors
// begin with the service's name.
func Together(ctx context.Context, service string, informers *informer.Set, controllers []Runner) error {
	if err := informers.WaitSynced(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%s: %w", service, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range controllers {
		g.Go(func() error { return c.Run(ctx) })
	}
	return g.Wait()
}
