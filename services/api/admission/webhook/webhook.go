// Package webhook asks the users' webhooks about writes: first the mutating ones, one after the other, then, about the
// finished object, the validating ones, all at once.
package webhook

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/expression"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/webhook"
)

type selector = metav1.LabelSelector

// Config makes a Plugin; all is required.
type Config struct {
	World     match.World
	Client    *webhook.Client
	Compiler  *expression.Compiler
	Authorize expression.Authorize
	Log       *zap.Logger
}

// Plugin is an admission plugin. It is safe for concurrent use.
type Plugin struct {
	config     Config
	authorizer expression.Authorizer
	validators *match.Set[[]*hook]
	mutators   *match.Set[[]*hook]
}

var _ admission.Validator = (*Plugin)(nil)

// New returns a Plugin.
func New(config Config) *Plugin {
	p := &Plugin{config: config, authorizer: expression.Authorizer{Decide: config.Authorize}}
	group := admissionregistrationv1.SchemeGroupVersion
	p.validators = match.NewSet(config.World, group.WithKind("ValidatingWebhookConfiguration"), p.validating)
	p.mutators = match.NewSet(config.World, group.WithKind("MutatingWebhookConfiguration"), p.mutating)
	return p
}

// call is one webhook that is to be asked, and what about.
type call struct {
	*hook
	view *match.View
	// index is the webhook's place among all.
	index int
}

// prepare decides whether a webhook is asked about a write; nil when it is not.
func (p *Plugin) prepare(ctx context.Context, a *admission.Attributes, views *match.Views, h *hook, index int) (*call, error) {
	if h.broken != nil {
		return nil, apierrors.NewInternalError(h.broken)
	}
	kind, ok, err := h.criteria.Match(ctx, a, p.config.World)
	if err != nil || !ok {
		return nil, err
	}
	view, err := views.Of(kind)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if h.conditions != nil {
		in, err := expression.NewInput(view, false)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		ok, err := h.conditions.Match(ctx, in, nil, p.authorizer)
		if err != nil && !h.ignore {
			return nil, apierrors.NewForbidden(a.GroupResource(), a.Name, err)
		}
		if err != nil || !ok {
			return nil, nil
		}
	}
	return &call{h, view, index}, nil
}

// unreachable is that a webhook could not be asked, as opposed to its having refused.
type unreachable struct {
	name   string
	reason error
}

func (e *unreachable) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", e.name, e.reason)
}

func (e *unreachable) Unwrap() error { return e.reason }

// verdict is what the failure of a call means for the write; nil when it is to go on.
func (p *Plugin) verdict(ctx context.Context, c *call, err error, phase string, a *admission.Attributes) error {
	var failed *unreachable
	if !errors.As(err, &failed) {
		return err
	}
	if !c.ignore {
		return apierrors.NewInternalError(err)
	}
	if ctx.Err() != nil {
		return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
	}
	p.config.Log.Warn("a webhook failed and is ignored, as its failurePolicy says", zap.String("webhook", c.name), zap.Error(failed.reason))
	a.Annotation(fmt.Sprintf("failed-open.%s.webhook.admission.k8s.io/round_%d_index_%d", phase, round(a), c.index), c.name)
	return nil
}

func round(a *admission.Attributes) int {
	if a.Round().Second {
		return 1
	}
	return 0
}
