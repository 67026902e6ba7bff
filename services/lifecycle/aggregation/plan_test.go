package aggregation

import (
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func part(name, label, resource string) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"to": label}},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, Resources: []string{resource}}},
	}
}

func TestAnAggregatedRoleIsTheUnionOfItsParts(t *testing.T) {
	whole := part("whole", "view", "own")
	whole.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
		{MatchLabels: map[string]string{"to": "view"}},
		{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "to", Operator: metav1.LabelSelectorOpIn, Values: []string{"edit"}}}},
	}}
	all := []*rbacv1.ClusterRole{part("b", "view", "pods"), part("a", "edit", "secrets"), part("c", "view", "pods"), part("d", "other", "nodes"), whole}
	rules := aggregate(whole, all)
	require.Len(t, rules, 2)
	require.Equal(t, []string{"secrets"}, rules[0].Resources, "in the order of the parts' names")
	require.Equal(t, []string{"pods"}, rules[1].Resources, "each once")
	require.True(t, sameRules(rules, aggregate(whole, all)))
	require.False(t, sameRules(rules, rules[:1]))
}
