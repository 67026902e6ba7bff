package authz

import (
	"context"

	"karve.dev/karve/services/api/admission"
)

// Admission returns the plugin that looks at the contents of writes where a verb and a name do not say enough: what
// nodes write, who grants which rights, and who decides about certificates.
func (a *Authorizer) Admission() admission.Plugin { return contents{a} }

type contents struct{ authorizer *Authorizer }

var _ admission.Validator = contents{}

// Admit implements admission.Plugin: it completes nothing.
func (contents) Admit(context.Context, *admission.Attributes) error { return nil }

// Validate implements admission.Validator.
func (c contents) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Operation == admission.Delete || a.Object == nil {
		return nil
	}
	var old any
	if a.Old != nil {
		old = a.Old
	}
	attrs := Attributes{User: a.User, Group: a.Kind.Group, Version: a.Kind.Version, Resource: a.Kind.Resource, Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name}
	if err := c.authorizer.RestrictNode(ctx, attrs, a.Object, old); err != nil {
		return err
	}
	if err := c.authorizer.checkOwners(ctx, a); err != nil {
		return err
	}
	if err := c.authorizer.checkSigner(ctx, a); err != nil {
		return err
	}
	if err := c.authorizer.checkAttest(ctx, a); err != nil {
		return err
	}
	return c.authorizer.CheckGrant(ctx, a.User, a.Object, old)
}
