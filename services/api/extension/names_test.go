package extension

import (
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"karve.dev/karve/services/api/registry"
)

func defined(group, plural, kind string, short ...string) *known {
	d := &definition{}
	d.Name = plural + "." + group
	d.Spec.Group = group
	d.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: plural + "1", Kind: kind, ListKind: kind + "List", ShortNames: short}
	return &known{definition: d}
}

func (v *verdict) condition(t apiextensionsv1.CustomResourceDefinitionConditionType) condition {
	for _, c := range v.status.Conditions {
		if c.Type == t {
			return c
		}
	}
	return condition{}
}

func TestNamesAreGrantedOnce(t *testing.T) {
	first, second := defined("example.com", "as", "A", "x"), defined("example.com", "bs", "B", "x")
	third, elsewhere := defined("example.com", "cs", "A"), defined("other.com", "as", "A", "x")
	verdicts := judge([]*known{first, second, third, elsewhere}, nil)
	require.True(t, verdicts[0].established())
	require.True(t, verdicts[3].established(), "another group")

	require.Equal(t, "ShortNamesConflict", verdicts[1].condition(apiextensionsv1.NamesAccepted).Reason)
	require.Equal(t, `"x" is already in use`, verdicts[1].condition(apiextensionsv1.NamesAccepted).Message)
	require.Equal(t, "NotAccepted", verdicts[1].condition(apiextensionsv1.Established).Reason)
	require.Equal(t, "ListKindConflict", verdicts[2].condition(apiextensionsv1.NamesAccepted).Reason)
	require.False(t, verdicts[2].established())

	first.Status, second.Status = verdicts[0].status, verdicts[1].status
	settled := judge([]*known{first, second}, nil)
	require.False(t, settled[0].changed)
	require.False(t, settled[1].changed)
	freed := judge([]*known{second}, nil)
	require.True(t, freed[0].established(), "the first has gone")
}

func TestAServedKindKeepsItsNames(t *testing.T) {
	first, second := defined("example.com", "as", "A"), defined("example.com", "bs", "B", "x")
	for i, v := range judge([]*known{first, second}, nil) {
		[]*known{first, second}[i].Status = v.status
	}
	first.Spec.Names.ShortNames = []string{"x"}
	verdicts := judge([]*known{first, second}, nil)
	require.True(t, verdicts[0].established())
	require.Equal(t, apiextensionsv1.ConditionFalse, verdicts[0].condition(apiextensionsv1.NamesAccepted).Status)
	require.Empty(t, verdicts[0].status.AcceptedNames.ShortNames)
	require.Equal(t, []string{"x"}, verdicts[1].status.AcceptedNames.ShortNames)
}

func TestBuiltInNamesAreTaken(t *testing.T) {
	verdicts := judge([]*known{defined("apps", "deployments", "Mine"), defined("apps", "yours", "Deployment"), defined("apps", "ours", "Ours")}, registry.All())
	require.False(t, verdicts[0].established())
	require.False(t, verdicts[1].established())
	require.True(t, verdicts[2].established())
}

func TestPaths(t *testing.T) {
	c := &Custom{version: &version{}, Fields: map[string]any{"spec": map[string]any{"n": int64(3), "list": []any{map[string]any{"a": "b"}}, "on": true}}}
	c.Name = "x"
	for text, want := range map[string]any{
		".spec.n": int64(3), ".metadata.name": "x", ".spec.list[0].a": "b", `.spec.list[?(@.a=="b")].a`: "b", ".spec.missing.deep": nil, ".spec.n.deep": nil,
	} {
		require.Equal(t, want, newPath(text).find(c), text)
	}
	require.Equal(t, "true", text(true))
	require.Equal(t, `[{"a":"b"}]`, text([]any{map[string]any{"a": "b"}}))
}
