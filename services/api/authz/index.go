package authz

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"karve.dev/karve/internal/identity"
)

// roleKey names a Role, or with an empty namespace a ClusterRole.
type roleKey struct{ namespace, name string }

// subjectKey is whom a binding grants to, in one namespace or (empty) everywhere.
type subjectKey struct {
	namespace string
	group     bool
	name      string
}

// binding is a compiled RoleBinding or, without a namespace, ClusterRoleBinding.
type binding struct {
	name     roleKey
	role     roleKey
	subjects []subjectKey
}

// index finds the roles of a user without looking at those of others.
type index struct {
	roles     map[roleKey]*compiledRole
	bindings  map[roleKey]*binding
	bySubject map[subjectKey]map[*binding]struct{}
}

func newIndex() *index {
	return &index{roles: map[roleKey]*compiledRole{}, bindings: map[roleKey]*binding{}, bySubject: map[subjectKey]map[*binding]struct{}{}}
}

// Update takes in a Role, ClusterRole, RoleBinding or ClusterRoleBinding that is new or has changed. Other kinds are
// ignored. It keeps no reference to obj.
func (a *Authorizer) Update(obj any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o := obj.(type) {
	case *rbacv1.Role:
		a.index.roles[roleKey{o.Namespace, o.Name}] = compile(o.Rules)
	case *rbacv1.ClusterRole:
		a.index.roles[roleKey{"", o.Name}] = compile(o.Rules)
	case *rbacv1.RoleBinding:
		a.index.bind(roleKey{o.Namespace, o.Name}, o.RoleRef, o.Subjects)
	case *rbacv1.ClusterRoleBinding:
		a.index.bind(roleKey{"", o.Name}, o.RoleRef, o.Subjects)
	}
}

// Remove forgets an object that Update took in. Only its kind, namespace and name matter.
func (a *Authorizer) Remove(obj any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o := obj.(type) {
	case *rbacv1.Role:
		delete(a.index.roles, roleKey{o.Namespace, o.Name})
	case *rbacv1.ClusterRole:
		delete(a.index.roles, roleKey{"", o.Name})
	case *rbacv1.RoleBinding:
		a.index.unbind(roleKey{o.Namespace, o.Name})
	case *rbacv1.ClusterRoleBinding:
		a.index.unbind(roleKey{"", o.Name})
	}
}

func (x *index) bind(name roleKey, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	x.unbind(name)
	b := &binding{name: name, role: roleKey{"", ref.Name}}
	if ref.Kind == "Role" {
		b.role.namespace = name.namespace
	}
	for _, s := range subjects {
		key, ok := subjectOf(name.namespace, s)
		if !ok {
			continue
		}
		b.subjects = append(b.subjects, key)
		if x.bySubject[key] == nil {
			x.bySubject[key] = map[*binding]struct{}{}
		}
		x.bySubject[key][b] = struct{}{}
	}
	x.bindings[name] = b
}

func (x *index) unbind(name roleKey) {
	b := x.bindings[name]
	if b == nil {
		return
	}
	delete(x.bindings, name)
	for _, key := range b.subjects {
		delete(x.bySubject[key], b)
		if len(x.bySubject[key]) == 0 {
			delete(x.bySubject, key)
		}
	}
}

func subjectOf(namespace string, s rbacv1.Subject) (subjectKey, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return subjectKey{namespace, false, s.Name}, true
	case rbacv1.GroupKind:
		return subjectKey{namespace, true, s.Name}, true
	case rbacv1.ServiceAccountKind:
		home := s.Namespace
		if home == "" {
			home = namespace
		}
		return subjectKey{namespace, false, identity.ServiceAccountUser(home, s.Name)}, home != ""
	}
	return subjectKey{}, false
}

// eachRole calls fn with the roles that a user has everywhere and in namespace, until fn returns false.
func (x *index) eachRole(u identity.User, namespace string, fn func(*binding, *compiledRole) bool) {
	scopes := [2]string{"", namespace}
	n := 2
	if namespace == "" {
		n = 1
	}
	for _, scope := range scopes[:n] {
		if !x.visit(subjectKey{scope, false, u.Name}, fn) {
			return
		}
		for _, g := range u.Groups {
			if !x.visit(subjectKey{scope, true, g}, fn) {
				return
			}
		}
	}
}

func (x *index) visit(key subjectKey, fn func(*binding, *compiledRole) bool) bool {
	for b := range x.bySubject[key] {
		if role := x.roles[b.role]; role != nil && !fn(b, role) {
			return false
		}
	}
	return true
}

func (x *index) allows(attrs *Attributes) bool {
	found := false
	x.eachRole(attrs.User, attrs.Namespace, func(b *binding, role *compiledRole) bool {
		switch {
		case attrs.Path == "":
			found = role.allows(attrs)
		case b.name.namespace == "":
			found = role.allowsPath(attrs.Verb, attrs.Path)
		}
		return !found
	})
	return found
}
