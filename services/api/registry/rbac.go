package registry

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func rbac(kind string) schema.GroupVersionKind { return gvk(rbacv1.GroupName, "v1", kind) }

// segment: names of roles and bindings may hold all that a path segment may.
func segment(name string, prefix bool) []string { return path.ValidatePathSegmentName(name, prefix) }

func role() *Kind {
	return define(Spec[*rbacv1.Role]{
		GVK: rbac("Role"), Resource: "roles", Singular: "role", Namespaced: true,
		New:          func() *rbacv1.Role { return &rbacv1.Role{} },
		NewList:      func() runtime.Object { return &rbacv1.RoleList{} },
		Validate:     func(r *rbacv1.Role) field.ErrorList { return validateRules(r.Rules, true) },
		ValidateName: segment,
		Columns:      columns("Name|Created At"),
		Cells:        func(r *rbacv1.Role, _ time.Time) []any { return []any{r.Name, createdAt(r.CreationTimestamp)} },
	})
}

func clusterRole() *Kind {
	return define(Spec[*rbacv1.ClusterRole]{
		GVK: rbac("ClusterRole"), Resource: "clusterroles", Singular: "clusterrole",
		New:     func() *rbacv1.ClusterRole { return &rbacv1.ClusterRole{} },
		NewList: func() runtime.Object { return &rbacv1.ClusterRoleList{} },
		Validate: func(r *rbacv1.ClusterRole) field.ErrorList {
			var e check.Errors
			e.Add(validateRules(r.Rules, false)...)
			if a := r.AggregationRule; a != nil {
				at := field.NewPath("aggregationRule", "clusterRoleSelectors")
				if len(a.ClusterRoleSelectors) == 0 {
					e.Required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil")
				}
				for i := range a.ClusterRoleSelectors {
					e.Selector(at.Index(i), &a.ClusterRoleSelectors[i])
					if _, err := metav1.LabelSelectorAsSelector(&a.ClusterRoleSelectors[i]); err != nil {
						e.Invalid(at.Index(i), nil, "invalid label selector.")
					}
				}
			}
			return e.List()
		},
		ValidateName: segment,
		Columns:      columns("Name|Created At"),
		Cells:        func(r *rbacv1.ClusterRole, _ time.Time) []any { return []any{r.Name, createdAt(r.CreationTimestamp)} },
	})
}

func validateRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var e check.Errors
	for i, r := range rules {
		p := field.NewPath("rules").Index(i)
		if len(r.NonResourceURLs) > 0 {
			e.If(namespaced, p.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
			if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
				e.Invalid(p.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			e.Required(p.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(r.Resources) == 0 {
			e.Required(p.Child("resources"), "resource rules must supply at least one resource")
		}
	}
	for i, r := range rules {
		if len(r.Verbs) == 0 {
			e.Required(field.NewPath("rules").Index(i).Child("verbs"), "")
		}
	}
	return e.List()
}

func roleBinding() *Kind {
	return define(Spec[*rbacv1.RoleBinding]{
		GVK: rbac("RoleBinding"), Resource: "rolebindings", Singular: "rolebinding", Namespaced: true,
		New:     func() *rbacv1.RoleBinding { return &rbacv1.RoleBinding{} },
		NewList: func() runtime.Object { return &rbacv1.RoleBindingList{} },
		Default: func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		Validate: func(b *rbacv1.RoleBinding) field.ErrorList {
			return validateBinding(&b.RoleRef, b.Subjects, true)
		},
		ValidateUpdate: func(b, old *rbacv1.RoleBinding) field.ErrorList { return validateRoleRef(b.RoleRef, old.RoleRef) },
		ValidateName:   segment,
		Columns:        columns("Name|Role|Age|+Users|+Groups|+ServiceAccounts"),
		Cells: func(b *rbacv1.RoleBinding, now time.Time) []any {
			users, groups, accounts := subjects(b.Subjects)
			return []any{b.Name, b.RoleRef.Kind + "/" + b.RoleRef.Name, age(b.CreationTimestamp, now), users, groups, accounts}
		},
	})
}

func clusterRoleBinding() *Kind {
	return define(Spec[*rbacv1.ClusterRoleBinding]{
		GVK: rbac("ClusterRoleBinding"), Resource: "clusterrolebindings", Singular: "clusterrolebinding",
		New:     func() *rbacv1.ClusterRoleBinding { return &rbacv1.ClusterRoleBinding{} },
		NewList: func() runtime.Object { return &rbacv1.ClusterRoleBindingList{} },
		Default: func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		Validate: func(b *rbacv1.ClusterRoleBinding) field.ErrorList {
			return validateBinding(&b.RoleRef, b.Subjects, false)
		},
		ValidateUpdate: func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
			return validateRoleRef(b.RoleRef, old.RoleRef)
		},
		ValidateName: segment,
		Columns:      columns("Name|Role|Age|+Users|+Groups|+ServiceAccounts"),
		Cells: func(b *rbacv1.ClusterRoleBinding, now time.Time) []any {
			users, groups, accounts := subjects(b.Subjects)
			return []any{b.Name, b.RoleRef.Kind + "/" + b.RoleRef.Name, age(b.CreationTimestamp, now), users, groups, accounts}
		},
	})
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	set(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if s := &subjects[i]; s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind {
			set(&s.APIGroup, rbacv1.GroupName)
		}
	}
}

func validateBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool) field.ErrorList {
	var e check.Errors
	p := field.NewPath("roleRef")
	check.Among(&e, p.Child("apiGroup"), ref.APIGroup, rbacv1.GroupName)
	if namespaced {
		check.Among(&e, p.Child("kind"), ref.Kind, "Role", "ClusterRole")
	} else {
		check.Among(&e, p.Child("kind"), ref.Kind, "ClusterRole")
	}
	if e.NotEmpty(p.Child("name"), ref.Name) {
		e.Messages(p.Child("name"), ref.Name, segment(ref.Name, false))
	}
	for i := range subjects {
		validateSubject(&e, field.NewPath("subjects").Index(i), &subjects[i], namespaced)
	}
	for i := range subjects {
		e.NotEmpty(field.NewPath("subjects").Index(i).Child("name"), subjects[i].Name)
	}
	return e.List()
}

func validateSubject(e *check.Errors, p *field.Path, s *rbacv1.Subject, namespaced bool) {
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			e.Messages(p.Child("name"), s.Name, validation.NameIsDNSSubdomain(s.Name, false))
		}
		check.Among(e, p.Child("apiGroup"), s.APIGroup, "")
		if !namespaced {
			e.NotEmpty(p.Child("namespace"), s.Namespace)
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		check.Among(e, p.Child("apiGroup"), s.APIGroup, rbacv1.GroupName)
	default:
		check.Among(e, p.Child("kind"), s.Kind, rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)
	}
}

// validateRoleRef: who is bound may change, to what may not, so that a binding can be given away to be managed.
func validateRoleRef(now, was rbacv1.RoleRef) field.ErrorList {
	var e check.Errors
	e.If(now != was, field.NewPath("roleRef"), now, "cannot change roleRef")
	return e.List()
}

// subjects lists who is bound, by kind.
func subjects(all []rbacv1.Subject) (users, groups, accounts string) {
	var u, g, a []string
	for _, s := range all {
		switch s.Kind {
		case rbacv1.UserKind:
			u = append(u, s.Name)
		case rbacv1.GroupKind:
			g = append(g, s.Name)
		case rbacv1.ServiceAccountKind:
			a = append(a, s.Namespace+"/"+s.Name)
		}
	}
	return strings.Join(u, ", "), strings.Join(g, ", "), strings.Join(a, ", ")
}
