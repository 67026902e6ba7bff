package webhook

import (
	"context"
	"sync"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/match"
)

// Validate implements admission.Validator: all webhooks are asked at once, and the first of those that refuse has its say.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	configurations, err := p.validators.All(ctx)
	if err != nil || len(configurations) == 0 || !match.Concerns(a) {
		return err
	}
	var calls []*call
	views := match.NewViews(a)
	for _, hooks := range configurations {
		for _, h := range hooks {
			c, err := p.prepare(ctx, a, views, h, len(calls))
			if err != nil {
				return err
			}
			if c == nil {
				continue
			}
			// The views are for one goroutine: what they make is made before the calls.
			if _, err := c.view.ObjectJSON(); err != nil {
				return err
			}
			if _, err := c.view.OldJSON(); err != nil {
				return err
			}
			calls = append(calls, c)
		}
	}
	switch len(calls) {
	case 0:
		return nil
	case 1:
		return p.validate(ctx, calls[0], a)
	}
	return p.validateAll(ctx, calls, a)
}

func (p *Plugin) validateAll(ctx context.Context, calls []*call, a *admission.Attributes) error {
	warn, annotate := a.Warn, a.Annotate
	defer func() { a.Warn, a.Annotate = warn, annotate }()
	var mu sync.Mutex
	if warn != nil {
		a.Warn = func(text string) { mu.Lock(); defer mu.Unlock(); warn(text) }
	}
	if annotate != nil {
		a.Annotate = func(key, value string) { mu.Lock(); defer mu.Unlock(); annotate(key, value) }
	}
	errs := make([]error, len(calls))
	var wg sync.WaitGroup
	for i, c := range calls {
		wg.Go(func() { errs[i] = p.validate(ctx, c, a) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Plugin) validate(ctx context.Context, c *call, a *admission.Attributes) error {
	answer, err := p.ask(ctx, c, false)
	if err != nil {
		return p.verdict(ctx, c, err, "validating", a)
	}
	if !answer.Allowed {
		return denial(c.name, answer.Result)
	}
	return nil
}
