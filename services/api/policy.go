package api

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
)

// parallelInserts bounds the writes under way while a new cluster's policy is made: they share the store's commits.
const parallelInserts = 16

// ensurePolicy makes what is missing of the default policy. The authorizer knows it when the call returns, without
// waiting for the watch.
func (s *Server) ensurePolicy(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelInserts)
	policy := authz.BootstrapPolicy()
	for _, want := range policy.Objects() {
		g.Go(func() error {
			if err := s.ensurePolicyObject(ctx, want); err != nil {
				return fmt.Errorf("make default policy %s: %w", want.GetName(), err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *Server) ensurePolicyObject(ctx context.Context, want authz.Object) error {
	gvk, err := client.KindOf(want)
	if err != nil {
		return err
	}
	if s.resources.Collection(gvk) == nil {
		// A test that serves a few kinds only still has its rules.
		s.authz.Update(want)
		return nil
	}
	have, err := s.resources.Read(ctx, gvk, want.GetNamespace(), want.GetName())
	if apierrors.IsNotFound(err) {
		err = s.resources.Insert(ctx, want)
		if err == nil {
			s.authz.Update(want)
		}
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		// Another replica was faster.
		have, err = s.resources.Read(ctx, gvk, want.GetNamespace(), want.GetName())
	}
	if err != nil {
		return err
	}
	change := authz.Merge(have, want)
	if change == nil {
		return nil
	}
	if change.Recreate {
		return s.recreate(ctx, change.Object)
	}
	return s.changePolicy(ctx, change.Object, func(old registry.Object) (server.Outcome, error) {
		again := authz.Merge(old, want)
		if again == nil || again.Recreate {
			return server.Outcome{Next: old}, nil
		}
		return server.Outcome{Next: again.Object}, nil
	})
}

// recreate replaces a binding whose role differs: that cannot be updated.
func (s *Server) recreate(ctx context.Context, obj authz.Object) error {
	err := s.changePolicy(ctx, obj, func(old registry.Object) (server.Outcome, error) {
		return server.Outcome{Next: old, Remove: true}, nil
	})
	if err != nil {
		return err
	}
	return s.resources.Insert(ctx, obj)
}

func (s *Server) changePolicy(ctx context.Context, obj authz.Object, do func(registry.Object) (server.Outcome, error)) error {
	gvk, err := client.KindOf(obj)
	if err != nil {
		return err
	}
	return errors.Join(s.resources.Batch(ctx, gvk, []server.Change{{Namespace: obj.GetNamespace(), Name: obj.GetName(), Do: do}})...)
}
