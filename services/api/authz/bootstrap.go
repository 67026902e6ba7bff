package authz

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels and annotations of default policy, as Kubernetes has them.
const (
	bootstrappingLabel = "kubernetes.io/bootstrapping"
	bootstrappingValue = "rbac-defaults"
	aggregateTo        = "rbac.authorization.k8s.io/aggregate-to-"
)

// Policy is the roles and bindings that a cluster starts with.
type Policy struct {
	ClusterRoles        []*rbacv1.ClusterRole
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	// Roles and RoleBindings live in kube-system and kube-public.
	Roles        []*rbacv1.Role
	RoleBindings []*rbacv1.RoleBinding
}

// roleSpec declares a role; rules are written with on and paths. Aggregates and into are names as in "edit";
// into may be several.
type roleSpec struct {
	name string
	// aggregates makes the role the union of the roles that are declared into it.
	aggregates string
	into       string
	rules      []rbacv1.PolicyRule
}

// bindingSpec declares that subjects (user:x, group:x or sa:namespace/name) have a role of the binding's name or the
// one named.
type bindingSpec struct {
	name     string
	role     string
	subjects string
}

// on is a rule about resources: verbs, groups ("core" for the empty one) and resources are space-separated.
func on(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	rule := rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: strings.Fields(groups), Resources: strings.Fields(resources), ResourceNames: names}
	for i, g := range rule.APIGroups {
		if g == "core" {
			rule.APIGroups[i] = ""
		}
	}
	return rule
}

// paths is a rule about URLs that name no resource.
func paths(verbs, urls string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), NonResourceURLs: strings.Fields(urls)}
}

// BootstrapPolicy returns Kubernetes' default policy and what Karve's own processes need. Each call makes it anew.
func BootstrapPolicy() Policy {
	var p Policy
	for _, s := range clusterRoles() {
		role := &rbacv1.ClusterRole{ObjectMeta: defaultMeta("", s.name), Rules: s.rules}
		for into := range strings.FieldsSeq(s.into) {
			role.Labels[aggregateTo+into] = "true"
		}
		if s.aggregates != "" {
			role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
				{MatchLabels: map[string]string{aggregateTo + s.aggregates: "true"}},
			}}
		}
		p.ClusterRoles = append(p.ClusterRoles, role)
	}
	for _, s := range clusterRoleBindings {
		p.ClusterRoleBindings = append(p.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{
			ObjectMeta: defaultMeta("", s.name), RoleRef: roleRef("ClusterRole", s), Subjects: parseSubjects(s.subjects),
		})
	}
	for _, namespace := range []string{"kube-system", "kube-public"} {
		for _, s := range namespaceRoles[namespace] {
			p.Roles = append(p.Roles, &rbacv1.Role{ObjectMeta: defaultMeta(namespace, s.name), Rules: s.rules})
		}
		for _, s := range namespaceRoleBindings[namespace] {
			p.RoleBindings = append(p.RoleBindings, &rbacv1.RoleBinding{
				ObjectMeta: defaultMeta(namespace, s.name), RoleRef: roleRef("Role", s), Subjects: parseSubjects(s.subjects),
			})
		}
	}
	return p
}

func defaultMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name,
		Labels:      map[string]string{bootstrappingLabel: bootstrappingValue},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

func roleRef(kind string, s bindingSpec) rbacv1.RoleRef {
	name := s.role
	if name == "" {
		name = s.name
	}
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func parseSubjects(list string) []rbacv1.Subject {
	var out []rbacv1.Subject
	for _, s := range strings.Fields(list) {
		kind, name, _ := strings.Cut(s, ":")
		switch kind {
		case "user":
			out = append(out, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name})
		case "group":
			out = append(out, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name})
		case "sa":
			namespace, account, _ := strings.Cut(name, "/")
			out = append(out, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account})
		}
	}
	return out
}
