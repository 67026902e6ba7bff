package aggregation

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// aggregate returns the rules that a ClusterRole with an aggregation rule should have: those of all other roles that a
// selector of it matches, by their names, each rule once.
func aggregate(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) []rbacv1.PolicyRule {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b *rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	var out []rbacv1.PolicyRule
	for _, other := range sorted {
		if other.Name == role.Name || !selects(role, other) {
			continue
		}
		for _, rule := range other.Rules {
			if !slices.ContainsFunc(out, func(have rbacv1.PolicyRule) bool { return reflect.DeepEqual(have, rule) }) {
				out = append(out, rule)
			}
		}
	}
	return out
}

func selects(role, other *rbacv1.ClusterRole) bool {
	if role.AggregationRule == nil {
		return false
	}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		s := &role.AggregationRule.ClusterRoleSelectors[i]
		// The form that everybody uses needs no parsing.
		if len(s.MatchExpressions) == 0 {
			if labels.SelectorFromSet(s.MatchLabels).Matches(labels.Set(other.Labels)) {
				return true
			}
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(s)
		if err == nil && selector.Matches(labels.Set(other.Labels)) {
			return true
		}
	}
	return false
}

// sameRules compares rules; a list that is empty and one that is missing are the same.
func sameRules(a, b []rbacv1.PolicyRule) bool {
	return slices.EqualFunc(a, b, func(x, y rbacv1.PolicyRule) bool {
		for _, pair := range [][2][]string{{x.Verbs, y.Verbs}, {x.APIGroups, y.APIGroups}, {x.Resources, y.Resources}, {x.ResourceNames, y.ResourceNames}, {x.NonResourceURLs, y.NonResourceURLs}} {
			if strings.Join(pair[0], "\n") != strings.Join(pair[1], "\n") || len(pair[0]) != len(pair[1]) {
				return false
			}
		}
		return true
	})
}
