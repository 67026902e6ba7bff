package api

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// policyKinds are what the authorizer is made of.
var policyKinds = []string{"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}

// feedPolicy keeps the authorizer in step with the stored policy until ctx ends; loaded is closed once it knows all.
func (s *Server) feedPolicy(ctx context.Context, loaded chan<- struct{}) error {
	defer func() {
		if loaded != nil {
			close(loaded)
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	ended := make(chan struct{}, len(policyKinds))
	waiting := 0
	for _, name := range policyKinds {
		kind, ok := registry.Lookup(rbacv1.SchemeGroupVersion.WithKind(name))
		if !ok {
			continue
		}
		waiting++
		g.Go(func() error { return s.feedKind(ctx, kind, func() { ended <- struct{}{} }) })
	}
	for range waiting {
		select {
		case <-ended:
		case <-ctx.Done():
			return g.Wait()
		}
	}
	close(loaded)
	loaded = nil
	return g.Wait()
}

// feedKind watches one kind of policy object. A watch that is cut begins anew.
func (s *Server) feedKind(ctx context.Context, kind *registry.Kind, initial func()) error {
	collection := s.resources.Collection(kind.GroupVersionKind)
	known := map[string]registry.Object{}
	for {
		w, err := collection.Watch(ctx, watch.WatchOptions{SendInitial: true, InitialEnd: true})
		if err == nil {
			err = s.feedFrom(ctx, w, kind, known, initial)
			initial = func() {}
		}
		switch {
		case ctx.Err() != nil || errors.Is(err, watch.ErrClosed):
			return nil
		case errors.Is(err, watch.ErrSlow) || errors.Is(err, watch.ErrExpired):
		default:
			return fmt.Errorf("watch %s: %w", kind.Resource, err)
		}
	}
}

// feedFrom tells the authorizer what a watch brings. What is known but not among the initial events is gone.
func (s *Server) feedFrom(ctx context.Context, w *watch.Watcher, kind *registry.Kind, known map[string]registry.Object, initial func()) error {
	defer w.Stop()
	seen := map[string]bool{}
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if ev.Type == watch.Bookmark {
				if ev.InitialEnd {
					for key, obj := range known {
						if !seen[key] {
							s.authz.Remove(obj)
							delete(known, key)
						}
					}
					initial()
				}
				continue
			}
			obj := kind.New()
			if err := codec.Decode(ev.Entry.Value, ev.Entry.Revision, obj); err != nil {
				return err
			}
			seen[ev.Entry.Key] = true
			if ev.Type == watch.Deleted {
				s.authz.Remove(obj)
				delete(known, ev.Entry.Key)
				continue
			}
			s.authz.Update(obj)
			known[ev.Entry.Key] = obj
		}
	}
}
