package policy

import (
	"context"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

var gvkValidating = admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy")

// Run tells in the status of validating policies what a check of types finds, until ctx ends.
func (p *Plugin) Run(ctx context.Context) error {
	for {
		policies, err := p.config.World.Settled(ctx, gvkValidating)
		if err != nil || policies == nil {
			return ignoreEnd(ctx, err)
		}
		switch err := p.follow(ctx, policies); {
		case ctx.Err() != nil || errors.Is(err, watch.ErrClosed):
			return nil
		case errors.Is(err, watch.ErrSlow) || errors.Is(err, watch.ErrExpired):
		default:
			return fmt.Errorf("watch policies: %w", err)
		}
	}
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (p *Plugin) follow(ctx context.Context, policies *watch.Collection) error {
	w, err := policies.Watch(ctx, watch.WatchOptions{SendInitial: true})
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if ev.Type != watch.Added && ev.Type != watch.Modified || ev.Entry.Err != nil {
				continue
			}
			policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
			if err := codec.Decode(ev.Entry.Value, ev.Entry.Revision, policy); err != nil || policy.Status.ObservedGeneration >= policy.Generation {
				continue
			}
			warnings := p.warnings(policy)
			p.config.Store(ctx, policy.Name, func(now *admissionregistrationv1.ValidatingAdmissionPolicy) {
				if now.Generation == policy.Generation {
					now.Status.ObservedGeneration = policy.Generation
					now.Status.TypeChecking = &admissionregistrationv1.TypeChecking{ExpressionWarnings: warnings}
				}
			})
		}
	}
}
