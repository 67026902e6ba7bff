package registry_test

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"

	"karve.dev/karve/services/api/registry"
)

type validationCase struct {
	Case   string
	Object map[string]any
	Change map[string]any
	Errors []string
}

func TestValidation(t *testing.T) {
	data, err := os.ReadFile("testdata/validation.yaml")
	require.NoError(t, err)
	var cases []validationCase
	require.NoError(t, yaml.UnmarshalStrict(data, &cases))
	for _, c := range cases {
		t.Run(c.Case, func(t *testing.T) { require.Equal(t, c.Errors, c.run(t)) })
	}
}

// run creates the object, or changes it when there is a change, and returns the first line of each error.
func (c *validationCase) run(t *testing.T) []string {
	obj := object(t, c.Object)
	k, _ := registry.Lookup(obj.GetObjectKind().GroupVersionKind())
	k.Default(obj)
	k.PrepareCreate(obj)
	if c.Change == nil {
		return lines(append(k.Validate(obj), k.ValidateCreate(obj)...))
	}
	require.Empty(t, k.Validate(obj), "the object must be valid before the change")
	var now map[string]any
	require.NoError(t, json.Unmarshal([]byte(asJSONString(t, obj)), &now))
	now["apiVersion"], now["kind"] = c.Object["apiVersion"], c.Object["kind"]
	updated := object(t, merged(now, c.Change))
	k.Default(updated)
	k.PrepareUpdate(updated, obj)
	return lines(append(k.Validate(updated), k.ValidateUpdate(updated, obj)...))
}

// merged lays a change over an object: maps merge, everything else is replaced.
func merged(obj, change map[string]any) map[string]any {
	out := maps.Clone(obj)
	for k, v := range change {
		inner, isMap := v.(map[string]any)
		was, wasMap := out[k].(map[string]any)
		if isMap && wasMap {
			out[k] = merged(was, inner)
		} else {
			out[k] = v
		}
	}
	return out
}

func lines(errs field.ErrorList) []string {
	var out []string
	for _, e := range errs {
		line, _, _ := strings.Cut(e.Error(), "\n")
		out = append(out, line)
	}
	return out
}
