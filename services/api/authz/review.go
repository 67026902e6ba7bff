package authz

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"karve.dev/karve/internal/identity"
)

// rulesOf returns the rules that a user has everywhere and, unless it is empty, in namespace.
func (a *Authorizer) rulesOf(user identity.User, namespace string) []rbacv1.PolicyRule {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var out []rbacv1.PolicyRule
	a.index.eachRole(user, namespace, func(b *binding, role *compiledRole) bool {
		for _, rule := range role.rules {
			// URLs are nobody's namespace: only ClusterRoleBindings grant them.
			if b.name.namespace == "" || len(rule.NonResourceURLs) == 0 {
				out = append(out, rule)
			}
		}
		return true
	})
	return out
}

// RulesFor lists what a user may do in a namespace, for a SelfSubjectRulesReview.
func (a *Authorizer) RulesFor(user identity.User, namespace string) authorizationv1.SubjectRulesReviewStatus {
	status := authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	for _, rule := range a.rulesOf(user, namespace) {
		if len(rule.Resources) > 0 {
			status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	if _, ok := identity.NodeName(user); ok {
		status.Incomplete, status.EvaluationError = true, "what a node may do depends on its pods and is not in this list"
	}
	return status
}
