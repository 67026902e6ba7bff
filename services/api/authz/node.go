package authz

import "context"

// authorizeNode decides what a node's agents may do beyond what RBAC gives them.
func (a *Authorizer) authorizeNode(ctx context.Context, node string, attrs Attributes) (bool, string, error) {
	return false, "", nil
}
