package extension

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	schemas "karve.dev/karve/services/api/extension/schema"
	"karve.dev/karve/services/api/registry"
)

var seeds = []struct{ schema, object string }{
	{`{"type":"object","properties":{"spec":{"type":"object","properties":{"n":{"type":"integer","default":1}}}}}`, `{"spec":{"m":2}}`},
	{`{"type":"object","x-kubernetes-preserve-unknown-fields":true}`, `{"metadata":{"name":"x","labels":{"a":"b"}},"spec":[1,2,{"a":null}]}`},
	{`{"type":"object","properties":{"a":{"type":"array","x-kubernetes-list-type":"set","maxItems":9,"items":{"type":"string"}}}}`, `{"a":["x","x"]}`},
	{`{"type":"object","properties":{"a":{"type":"string","maxLength":9,"x-kubernetes-validations":[{"rule":"self == oldSelf"}]}}}`, `{"a":"b"}`},
	{`{"type":"object","properties":{"t":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}}`, `{"t":{"apiVersion":"v1","kind":"Pod","metadata":{"name":7}}}`},
	{`{"type":"object","properties":{"p":{"x-kubernetes-int-or-string":true},"m":{"type":"object","additionalProperties":{"type":"number","nullable":true}}}}`, `{"p":"1","m":{"a":null,"b":1.5}}`},
	{`{"type":"object","properties":{"a":{"type":"string","pattern":"^(a+)+$","format":"date-time","enum":["x"]}},"required":["a"]}`, `{"a":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}`},
}

// Whatever a definition's author and an object's author write, nothing panics, and what was read once is read the same
// again.
func FuzzSchemas(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s.schema), []byte(s.object))
	}
	f.Fuzz(func(t *testing.T, schemaJSON, objectJSON []byte) {
		if len(schemaJSON) > 4<<10 || len(objectJSON) > 4<<10 {
			return
		}
		props := &apiextensionsv1.JSONSchemaProps{}
		if json.Unmarshal(schemaJSON, props) != nil || !valid(props) {
			return
		}
		v := &version{kind: schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}, hasStatus: true}
		v.schema = schemas.New(func() (*apiextensionsv1.JSONSchemaProps, error) { return props.DeepCopy(), nil }, false)
		c := &Custom{version: v}
		if _, err := c.UnmarshalStrict(objectJSON); err != nil {
			return
		}
		c.setDefaults()
		v.prepareCreate(c)
		v.validateCreate(c)
		v.validateUpdate(c, c.DeepCopyObject().(registry.Object))
		v.validateStatus(c, c.DeepCopyObject().(registry.Object))
		stored, err := json.Marshal(c)
		require.NoError(t, err)
		again := &Custom{version: v}
		require.NoError(t, json.Unmarshal(stored, again))
		same, err := json.Marshal(again)
		require.NoError(t, err)
		c.TypeMeta = again.TypeMeta
		want, err := json.Marshal(c)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(same))
	})
}

// valid tells whether a definition with the schema would be accepted.
func valid(props *apiextensionsv1.JSONSchemaProps) bool {
	kind, _ := registry.Lookup(gvkDefinition)
	d := &definition{}
	d.Name = "things.example.com"
	d.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "example.com", Scope: apiextensionsv1.ClusterScoped, Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Kind: "Thing"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: props.DeepCopy()}}},
	}
	kind.Default(d)
	kind.PrepareCreate(d)
	return len(kind.ValidateCreate(d)) == 0
}
