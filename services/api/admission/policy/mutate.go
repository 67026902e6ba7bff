package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/registry"
)

// Admit implements admission.Plugin: the mutating policies change the object one after the other.
func (p *Plugin) Admit(ctx context.Context, a *admission.Attributes) error {
	policies, err := p.mutators.All(ctx)
	if err != nil || len(policies) == 0 || !match.Concerns(a) {
		return err
	}
	bindings, err := p.mutatingBindings.All(ctx)
	if err != nil {
		return err
	}
	c := &changes{subject: p.subject(a)}
	c.again = match.Remember(p, a, c.views)
	var invocations []invocation
	for _, policy := range policies {
		invocations = append(invocations, c.invocations(ctx, policy, bindings)...)
	}
	for _, i := range invocations {
		if err := c.apply(ctx, i); err != nil {
			return err
		}
	}
	c.again.Done(c.views)
	return c.refusal()
}

// changes is one round of all policies over a write.
type changes struct {
	*subject
	again *match.Again
	// denials are what stops the write, in order.
	denials []string
	reason  metav1.StatusReason
}

// invocation is a policy, as one binding has it evaluated with one set of parameters.
type invocation struct {
	policy  *mutator
	binding *binding
	kind    *registry.Kind
	params  runtime.Object
}

// invocations are all of one policy for the write as it is before any of them.
func (c *changes) invocations(ctx context.Context, policy *mutator, bindings []*binding) (out []invocation) {
	world := c.plugin.config.World
	for _, b := range bindings {
		if b.policy != policy.Name {
			continue
		}
		if policy.broken != nil {
			c.misconfigured(policy, nil, policy.broken)
			return nil
		}
		kind, ok, err := policy.criteria.Match(ctx, c.Attributes, world)
		if err != nil {
			c.misconfigured(policy, nil, err)
		}
		if err != nil || !ok {
			return nil
		}
		if ok, err = b.matches(ctx, c.Attributes, world); err != nil {
			c.misconfigured(policy, b, err)
		}
		if err != nil || !ok {
			continue
		}
		params, err := c.plugin.params(ctx, policy.Spec.ParamKind, b.params, c.Namespace)
		if err != nil {
			c.misconfigured(policy, b, err)
			continue
		}
		for _, param := range params {
			out = append(out, invocation{policy, b, kind, param})
		}
	}
	return out
}

// id is the same in both rounds of a write.
func (i invocation) id() string {
	id := i.policy.Name + "/" + i.binding.name
	if i.params != nil {
		if accessor, err := meta.Accessor(i.params); err == nil {
			id += "/" + accessor.GetNamespace() + "/" + accessor.GetName()
		}
	}
	return id
}

func (c *changes) apply(ctx context.Context, i invocation) error {
	id := i.id()
	if !c.again.Due(id) {
		return nil
	}
	before, err := c.json(i.kind)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	applied, err := i.policy.edit(ctx, c.subject, i.kind, i.params)
	var status *apierrors.StatusError
	if errors.As(err, &status) {
		return err
	}
	if err != nil {
		c.deny(i.policy, i.binding, err.Error(), metav1.StatusReasonInvalid)
	}
	if !applied {
		return nil
	}
	after, err := c.json(i.kind)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	c.again.Asked(id, !bytes.Equal(before, after), i.policy.Spec.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy)
	return nil
}

func (c *changes) json(kind *registry.Kind) ([]byte, error) {
	view, err := c.views.Of(kind)
	if err != nil {
		return nil, err
	}
	return view.ObjectJSON()
}

// misconfigured is an error of the policy or of the binding, not of the write.
func (c *changes) misconfigured(policy *mutator, b *binding, err error) {
	what := "policy"
	if b != nil {
		what = "binding"
	}
	c.deny(policy, b, fmt.Sprintf("failed to configure %s: %v", what, err), "")
}

func (c *changes) deny(policy *mutator, b *binding, message string, reason metav1.StatusReason) {
	if ignores(policy.Spec.FailurePolicy) {
		return
	}
	text := fmt.Sprintf("policy %q denied request: %s", policy.Name, message)
	if b != nil {
		text = fmt.Sprintf("policy '%s' with binding '%s' denied request: %s", policy.Name, b.name, message)
	}
	if len(c.denials) == 0 {
		c.reason = reason
	}
	c.denials = append(c.denials, text)
}

func (c *changes) refusal() error {
	if len(c.denials) == 0 {
		return nil
	}
	err := forbidden(c.Attributes, c.denials[0])
	err.ErrStatus.Message = c.denials[0]
	if c.reason != "" {
		err.ErrStatus.Reason = c.reason
	}
	for _, text := range c.denials[1:] {
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: text})
	}
	return err
}
