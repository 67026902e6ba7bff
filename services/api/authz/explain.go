package authz

import (
	"cmp"
	"slices"
	"strconv"

	"karve.dev/karve/internal/identity"
)

// Explain returns which binding allows a request that Authorize has allowed, in Kubernetes' words; empty when it is allowed
// without one, as for system:masters. It looks at all the bindings of the user: it is for answers that people read.
func (a *Authorizer) Explain(attrs Attributes) string {
	if slices.Contains(attrs.User.Groups, identity.GroupMasters) {
		return ""
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if found := a.index.granting(&attrs); len(found) > 0 {
		return "RBAC: allowed by " + found[0].text()
	}
	return ""
}

// grantedBy is a binding that allows a request, and the subject of it that the user is.
type grantedBy struct {
	*binding
	subject subjectKey
}

// granting returns the bindings that allow a request: those for everywhere first, then by name.
func (x *index) granting(attrs *Attributes) []grantedBy {
	var out []grantedBy
	for _, key := range subjectsOf(attrs.User, attrs.Namespace) {
		x.visit(key, func(b *binding, role *compiledRole) bool {
			if attrs.Path == "" && role.allows(attrs) || attrs.Path != "" && b.name.namespace == "" && role.allowsPath(attrs.Verb, attrs.Path) {
				out = append(out, grantedBy{b, key})
			}
			return true
		})
	}
	slices.SortStableFunc(out, func(a, b grantedBy) int {
		return cmp.Or(cmp.Compare(a.name.namespace, b.name.namespace), cmp.Compare(a.name.name, b.name.name))
	})
	return out
}

// subjectsOf are the keys under which a user's bindings are found.
func subjectsOf(u identity.User, namespace string) []subjectKey {
	var out []subjectKey
	for _, scope := range []string{"", namespace} {
		out = append(out, subjectKey{scope, false, u.Name})
		for _, g := range u.Groups {
			out = append(out, subjectKey{scope, true, g})
		}
		if namespace == "" {
			break
		}
	}
	return out
}

func (g grantedBy) text() string {
	kind, name, role := "ClusterRoleBinding", g.name.name, "ClusterRole"
	if g.name.namespace != "" {
		kind, name = "RoleBinding", g.name.name+"/"+g.name.namespace
	}
	if g.role.namespace != "" {
		role = "Role"
	}
	return kind + " " + strconv.Quote(name) + " of " + role + " " + strconv.Quote(g.role.name) + " to " + g.subject.text()
}

func (k subjectKey) text() string {
	if k.group {
		return "Group " + strconv.Quote(k.name)
	}
	if namespace, name, ok := identity.SplitServiceAccount(k.name); ok {
		return "ServiceAccount " + strconv.Quote(name+"/"+namespace)
	}
	return "User " + strconv.Quote(k.name)
}
