package expression

import (
	"context"

	"k8s.io/apiserver/pkg/authorization/authorizer"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
)

// Authorize decides who may do what.
type Authorize func(ctx context.Context, attrs authz.Attributes) (allowed bool, reason string, err error)

// Authorizer is what the variable "authorizer" asks; it remembers nothing, since Karve's rules are in memory.
type Authorizer struct{ Decide Authorize }

var _ authorizer.UnconditionalAuthorizer = Authorizer{}

// Authorize implements authorizer.UnconditionalAuthorizer.
func (z Authorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	attrs := authz.Attributes{Verb: a.GetVerb()}
	if u := a.GetUser(); u != nil {
		attrs.User = identity.User{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()}
	}
	if a.IsResourceRequest() {
		attrs.Group, attrs.Version, attrs.Resource, attrs.Subresource = a.GetAPIGroup(), a.GetAPIVersion(), a.GetResource(), a.GetSubresource()
		attrs.Namespace, attrs.Name = a.GetNamespace(), a.GetName()
	} else {
		attrs.Path = a.GetPath()
	}
	allowed, reason, err := z.Decide(ctx, attrs)
	if allowed {
		return authorizer.DecisionAllow, reason, nil
	}
	return authorizer.DecisionNoOpinion, reason, err
}
