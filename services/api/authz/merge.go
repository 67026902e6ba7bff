package authz

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is a *rbacv1.Role, *rbacv1.ClusterRole, *rbacv1.RoleBinding or *rbacv1.ClusterRoleBinding.
type Object interface {
	metav1.Object
	runtime.Object
}

// Objects returns everything in the policy, roles before the bindings that name them.
func (p Policy) Objects() []Object {
	var out []Object
	for _, o := range p.ClusterRoles {
		out = append(out, o)
	}
	for _, o := range p.Roles {
		out = append(out, o)
	}
	for _, o := range p.ClusterRoleBindings {
		out = append(out, o)
	}
	for _, o := range p.RoleBindings {
		out = append(out, o)
	}
	return out
}

// Change is what brings a stored object up to a policy.
type Change struct {
	Object Object
	// Recreate: the object must be deleted first, because what differs cannot be updated.
	Recreate bool
}

// Merge returns how the stored object have gets what want has, nil when it has it all or must be left alone. Both are
// of the same kind; have is not changed.
func Merge(have, want Object) *Change {
	if have.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
		return nil
	}
	out := have.DeepCopyObject().(Object)
	changed := mergeMeta(out, want)
	recreate := false
	switch w := want.(type) {
	case *rbacv1.ClusterRole:
		o := out.(*rbacv1.ClusterRole)
		changed = mergeAggregation(o, w) || changed
		if w.AggregationRule == nil {
			changed = mergeRules(&o.Rules, w.Rules) || changed
		}
	case *rbacv1.Role:
		changed = mergeRules(&out.(*rbacv1.Role).Rules, w.Rules) || changed
	case *rbacv1.ClusterRoleBinding:
		o := out.(*rbacv1.ClusterRoleBinding)
		changed = mergeSubjects(&o.Subjects, w.Subjects) || changed
		recreate = o.RoleRef != w.RoleRef
		o.RoleRef = w.RoleRef
	case *rbacv1.RoleBinding:
		o := out.(*rbacv1.RoleBinding)
		changed = mergeSubjects(&o.Subjects, w.Subjects) || changed
		recreate = o.RoleRef != w.RoleRef
		o.RoleRef = w.RoleRef
	}
	if recreate {
		out.SetUID("")
		out.SetResourceVersion("")
	}
	if !changed && !recreate {
		return nil
	}
	return &Change{Object: out, Recreate: recreate}
}

// mergeMeta adds the labels and annotations of want that out has no value for.
func mergeMeta(out, want Object) bool {
	labels, changedLabels := addMissing(out.GetLabels(), want.GetLabels())
	annotations, changedAnnotations := addMissing(out.GetAnnotations(), want.GetAnnotations())
	out.SetLabels(labels)
	out.SetAnnotations(annotations)
	return changedLabels || changedAnnotations
}

func addMissing(have, want map[string]string) (map[string]string, bool) {
	changed := false
	for k, v := range want {
		if _, ok := have[k]; ok {
			continue
		}
		if !changed {
			have = maps.Clone(have)
		}
		if have == nil {
			have = map[string]string{}
		}
		have[k], changed = v, true
	}
	return have, changed
}

func mergeAggregation(o, want *rbacv1.ClusterRole) bool {
	if want.AggregationRule == nil {
		return false
	}
	if o.AggregationRule == nil {
		o.AggregationRule = want.AggregationRule.DeepCopy()
		return true
	}
	changed := false
	for _, s := range want.AggregationRule.ClusterRoleSelectors {
		known := slices.ContainsFunc(o.AggregationRule.ClusterRoleSelectors, func(other metav1.LabelSelector) bool { return other.String() == s.String() })
		if !known {
			o.AggregationRule.ClusterRoleSelectors, changed = append(o.AggregationRule.ClusterRoleSelectors, s), true
		}
	}
	return changed
}

func mergeRules(have *[]rbacv1.PolicyRule, want []rbacv1.PolicyRule) bool {
	missing := Uncovered(*have, want)
	*have = append(*have, missing...)
	return len(missing) > 0
}

func mergeSubjects(have *[]rbacv1.Subject, want []rbacv1.Subject) bool {
	changed := false
	for _, s := range want {
		if !slices.Contains(*have, s) {
			*have, changed = append(*have, s), true
		}
	}
	return changed
}
