package authz

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Policy is the roles and bindings that a cluster starts with.
type Policy struct {
	ClusterRoles        []*rbacv1.ClusterRole
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	// Roles and RoleBindings live in kube-system and kube-public.
	Roles        []*rbacv1.Role
	RoleBindings []*rbacv1.RoleBinding
}

// BootstrapPolicy returns Kubernetes' default policy and what Karve's own processes need. Each call makes it anew.
func BootstrapPolicy() Policy { return Policy{} }

// Object is a Role, ClusterRole, RoleBinding or ClusterRoleBinding.
type Object = interface {
	GetNamespace() string
	GetName() string
}

// Writer reads and writes policy objects for Reconcile.
type Writer interface {
	// Get returns the stored object of the same kind, namespace and name as want, nil when there is none.
	Get(ctx context.Context, want Object) (Object, error)
	Create(ctx context.Context, obj Object) error
	// Update replaces an object that Get returned.
	Update(ctx context.Context, obj Object) error
}

// Reconcile creates what is missing of policy and adds missing rules and subjects to what is there, unless an object
// is annotated rbac.authorization.kubernetes.io/autoupdate: "false".
func Reconcile(ctx context.Context, w Writer, policy Policy) error { return nil }
