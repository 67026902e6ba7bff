package authz

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/identity"
)

var everything = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

// CheckGrant refuses a write of a Role, ClusterRole, RoleBinding or ClusterRoleBinding that would give anybody rights
// that user does not hold, unless user may "escalate" or "bind". Old is nil on create. Other kinds pass.
func (a *Authorizer) CheckGrant(ctx context.Context, user identity.User, obj, old any) error {
	if slices.Contains(user.Groups, identity.GroupMasters) {
		return nil
	}
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		before, _ := old.(*rbacv1.ClusterRole)
		if before != nil && reflect.DeepEqual(before.Rules, o.Rules) && reflect.DeepEqual(before.AggregationRule, o.AggregationRule) {
			return nil
		}
		return a.checkRole(ctx, user, roleKey{"", o.Name}, o.Rules, o.AggregationRule != nil && (before == nil || !reflect.DeepEqual(before.AggregationRule, o.AggregationRule)))
	case *rbacv1.Role:
		if before, ok := old.(*rbacv1.Role); ok && before != nil && reflect.DeepEqual(before.Rules, o.Rules) {
			return nil
		}
		return a.checkRole(ctx, user, roleKey{o.Namespace, o.Name}, o.Rules, false)
	case *rbacv1.ClusterRoleBinding:
		if before, ok := old.(*rbacv1.ClusterRoleBinding); ok && before != nil && before.RoleRef == o.RoleRef && slices.Equal(before.Subjects, o.Subjects) {
			return nil
		}
		return a.checkBinding(ctx, user, roleKey{"", o.Name}, o.RoleRef)
	case *rbacv1.RoleBinding:
		if before, ok := old.(*rbacv1.RoleBinding); ok && before != nil && before.RoleRef == o.RoleRef && slices.Equal(before.Subjects, o.Subjects) {
			return nil
		}
		return a.checkBinding(ctx, user, roleKey{o.Namespace, o.Name}, o.RoleRef)
	}
	return nil
}

func (k roleKey) resource() string {
	if k.namespace == "" {
		return "clusterroles"
	}
	return "roles"
}

func (a *Authorizer) may(ctx context.Context, user identity.User, verb string, role roleKey, namespace string) (bool, error) {
	allowed, _, err := a.Authorize(ctx, Attributes{
		User: user, Verb: verb, Group: rbacv1.GroupName, Version: "v1", Resource: role.resource(), Namespace: namespace, Name: role.name,
	})
	return allowed, err
}

func (a *Authorizer) checkRole(ctx context.Context, user identity.User, role roleKey, asked []rbacv1.PolicyRule, aggregates bool) error {
	if allowed, err := a.may(ctx, user, "escalate", role, role.namespace); err != nil || allowed {
		return err
	}
	held := a.rulesOf(user, role.namespace)
	gr := schema.GroupResource{Group: rbacv1.GroupName, Resource: role.resource()}
	if aggregates && len(Uncovered(held, everything)) > 0 {
		return apierrors.NewForbidden(gr, role.name, fmt.Errorf("must have cluster-admin privileges to use the aggregationRule"))
	}
	return refuse(gr, role.name, user, Uncovered(held, asked))
}

func (a *Authorizer) checkBinding(ctx context.Context, user identity.User, name roleKey, ref rbacv1.RoleRef) error {
	role := roleKey{"", ref.Name}
	if ref.Kind == "Role" {
		role.namespace = name.namespace
	}
	// The right to bind a ClusterRole in one namespace may be given in that namespace.
	if allowed, err := a.may(ctx, user, "bind", role, name.namespace); err != nil || allowed {
		return err
	}
	a.mu.RLock()
	compiled := a.index.roles[role]
	a.mu.RUnlock()
	if compiled == nil {
		return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: role.resource()}, role.name)
	}
	resource := "clusterrolebindings"
	if name.namespace != "" {
		resource = "rolebindings"
	}
	missing := Uncovered(a.rulesOf(user, name.namespace), compiled.rules)
	return refuse(schema.GroupResource{Group: rbacv1.GroupName, Resource: resource}, name.name, user, missing)
}

func refuse(gr schema.GroupResource, name string, user identity.User, missing []rbacv1.PolicyRule) error {
	if len(missing) == 0 {
		return nil
	}
	lines := make([]string, 0, len(missing))
	for _, rule := range missing {
		lines = append(lines, compact(rule))
	}
	slices.Sort(lines)
	return apierrors.NewForbidden(gr, name, fmt.Errorf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		user.Name, user.Groups, strings.Join(slices.Compact(lines), "\n")))
}

func compact(r rbacv1.PolicyRule) string {
	var parts []string
	for _, f := range []struct {
		name   string
		values []string
	}{{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"ResourceNames", r.ResourceNames}, {"NonResourceURLs", r.NonResourceURLs}, {"Verbs", r.Verbs}} {
		if len(f.values) > 0 {
			parts = append(parts, f.name+":["+quoteAll(f.values)+"]")
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func quoteAll(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(quoted, ", ")
}
