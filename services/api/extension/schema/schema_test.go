package schema_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"karve.dev/karve/services/api/extension/schema"
)

func parse(t testing.TB, text string) *schema.Schema {
	return schema.New(func() (*apiextensionsv1.JSONSchemaProps, error) {
		props := &apiextensionsv1.JSONSchemaProps{}
		require.NoError(t, yaml.Unmarshal([]byte(text), props))
		return props, nil
	}, false)
}

// whole is an object with the given spec.
func whole(t testing.TB, spec string) map[string]any {
	data, err := yaml.YAMLToJSON([]byte("{apiVersion: g/v1, kind: K, metadata: {name: x}, spec: " + spec + "}"))
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, utiljson.Unmarshal(data, &out))
	return out
}

const ports = `
type: object
properties:
  spec:
    type: object
    properties:
      size: {type: integer, default: 3}
      mode: {type: string, nullable: true}
      strict: {type: string, default: "on"}
      ports:
        type: array
        maxItems: 100
        x-kubernetes-list-type: map
        x-kubernetes-list-map-keys: [name]
        items:
          type: object
          required: [name]
          properties: {name: {type: string, maxLength: 10}, port: {type: integer, maximum: 65535}, proto: {type: string, default: TCP}}
      free: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {known: {type: object, properties: {a: {type: string}}}}}
      labels: {type: object, additionalProperties: {type: string}}
`

func TestPruningKeepsWhatIsKnown(t *testing.T) {
	obj := whole(t, `{size: 1, typo: x, ports: [{name: a, extra: 1}], free: {any: 1, known: {a: b, c: d}}, labels: {x: y}}`)
	unknown, err := parse(t, ports).Prune(obj, false)
	require.NoError(t, err)
	require.Equal(t, []string{"spec.free.known.c", "spec.ports[0].extra", "spec.typo"}, unknown)
	require.Equal(t, whole(t, `{size: 1, ports: [{name: a}], free: {any: 1, known: {a: b}}, labels: {x: y}}`), obj)
}

func TestDefaultsFillWhatIsLeftOut(t *testing.T) {
	for spec, want := range map[string]string{
		`{}`:                            `{size: 3, strict: "on"}`,
		`{size: 0, ports: [{name: a}]}`: `{size: 0, strict: "on", ports: [{name: a, proto: TCP}]}`,
		`{size: null, mode: null}`:      `{size: 3, strict: "on", mode: null}`,
	} {
		obj := whole(t, spec)
		s := parse(t, ports)
		s.Default(obj)
		require.Equal(t, whole(t, want), obj, spec)
		s.Default(obj)
		require.Equal(t, whole(t, want), obj, "twice: %s", spec)
	}
}

func TestMistakesAreToldWithTheirPath(t *testing.T) {
	s := parse(t, ports)
	for spec, want := range map[string]string{
		`{size: 1}`:                         "",
		`{size: "1"}`:                       `spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"`,
		`{ports: [{name: a}, {name: a}]}`:   `spec.ports[1]: Duplicate value: {"name":"a"}`,
		`{ports: [{port: 1}]}`:              `spec.ports[0].name: Required value`,
		`{ports: [{name: a, port: 65536}]}`: `spec.ports[0].port: Invalid value: 65536: spec.ports[0].port in body should be less than or equal to 65535`,
		`{ports: [{name: averylongname}]}`:  `spec.ports[0].name: Too long: may not be more than 10 bytes`,
		`{labels: {a: 1}}`:                  `spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"`,
	} {
		errs := s.Validate(whole(t, spec))
		if want == "" {
			require.Empty(t, errs)
			continue
		}
		require.NotEmpty(t, errs, spec)
		require.ErrorContains(t, errs.ToAggregate(), want, spec)
	}
}

const rules = `
type: object
properties:
  spec:
    type: object
    x-kubernetes-validations:
    - {rule: "self.min <= self.max", messageExpression: "'min ' + string(self.min) + ' is above max'", reason: FieldValueForbidden, fieldPath: .min}
    - {rule: "self.size >= oldSelf.size", message: size may only grow}
    properties:
      min: {type: integer, default: 0}
      max: {type: integer, default: 10}
      size: {type: integer, default: 0}
      words: {type: array, items: {type: string}}
`

func TestRules(t *testing.T) {
	s := parse(t, rules)
	full := func(spec string) map[string]any {
		obj := whole(t, spec)
		s.Default(obj)
		return obj
	}
	require.Empty(t, s.Validate(full(`{}`)))
	require.ErrorContains(t, s.Validate(full(`{min: 11}`)).ToAggregate(), `spec.min: Forbidden: min 11 is above max`)
	require.Empty(t, s.ValidateUpdate(full(`{size: 3}`), full(`{size: 2}`)))
	require.ErrorContains(t, s.ValidateUpdate(full(`{size: 1}`), full(`{size: 2}`)).ToAggregate(), "size may only grow")
	require.Empty(t, s.ValidateUpdate(full(`{min: 11}`), full(`{min: 11}`)), "what was wrong before is forgiven while it is the same")
	require.ErrorContains(t, s.Validate(full(`{min: x}`)).ToAggregate(), "some validation rules were not checked because the object was invalid")
}

func TestRulesMustNotCostTooMuch(t *testing.T) {
	s := parse(t, `
type: object
properties:
  spec:
    type: object
    properties:
      words:
        type: array
        items: {type: string}
        x-kubernetes-validations: [{rule: "self.all(x, self.all(y, self.all(z, x + y != z)))"}]
`)
	errs := s.Validate(whole(t, "{words: ["+strings.Repeat("a, ", 400)+"a]}"))
	require.ErrorContains(t, errs.ToAggregate(), "call cost exceeds limit")
}

func TestWhatIsNotUsedIsMadeAgain(t *testing.T) {
	loads := 0
	s := schema.New(func() (*apiextensionsv1.JSONSchemaProps, error) {
		loads++
		return &apiextensionsv1.JSONSchemaProps{Type: "object"}, nil
	}, false)
	use := func() int {
		before := loads
		require.Empty(t, s.Validate(whole(t, "{}")))
		return loads - before
	}
	require.NotZero(t, use())
	require.Zero(t, use())
	s.Sweep()
	require.Zero(t, use(), "it was used before the sweep")
	s.Sweep()
	s.Sweep()
	require.NotZero(t, use())
}

func TestWithoutSchemaNothingIsKnown(t *testing.T) {
	s := schema.New(func() (*apiextensionsv1.JSONSchemaProps, error) { return nil, nil }, true)
	obj := whole(t, `{a: 1}`)
	_, err := s.Prune(obj, false)
	require.NoError(t, err)
	s.Default(obj)
	require.Equal(t, whole(t, `{a: 1}`), obj)
	require.Empty(t, s.Validate(obj))
	require.Empty(t, s.ValidateUpdate(obj, obj))
	require.Empty(t, s.ValidateStatus(obj, obj))
}
