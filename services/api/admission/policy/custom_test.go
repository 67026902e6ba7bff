package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/services/api/apitest"
)

// send creates an object of any kind.
func (w *world) send(text string) (*unstructured.Unstructured, error) {
	w.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(w, err)
	u := &unstructured.Unstructured{}
	require.NoError(w, json.Unmarshal(data, u))
	res, err := apiv1.NewResourceServiceClient(w.c.Conn(apitest.Admin)).Create(w.Context(), &apiv1.CreateRequest{
		Ref: &apiv1.ObjectRef{ApiVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace()}, As: &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_JSON},
		Object: &apiv1.Object{ApiVersion: u.GetAPIVersion(), Kind: u.GetKind(), Encoding: apiv1.Encoding_ENCODING_JSON, Data: data},
	})
	if err != nil {
		return nil, apierr.FromGRPC(err)
	}
	out := &unstructured.Unstructured{}
	return out, json.Unmarshal(res.GetObject().GetData(), out)
}

const limitsAndThings = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: NAMEs.example.com}
spec:
  group: example.com
  scope: SCOPE
  names: {plural: NAMEs, kind: KIND}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {
      max: {type: integer}, size: {type: integer}, note: {type: string}, parts: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name], properties: {name: {type: string}, count: {type: integer}}}}}}}}
`

func (w *world) define(name, kind, scope string) {
	w.Helper()
	_, err := w.send(strings.NewReplacer("NAME", name, "KIND", kind, "SCOPE", scope).Replace(limitsAndThings))
	require.NoError(w, err)
}

func TestCustomKindsAreJudgedAndChanged(t *testing.T) {
	w := start(t)
	w.define("limit", "Limit", "Cluster")
	w.define("thing", "Thing", "Namespaced")
	w.create(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: p}
spec:
  paramKind: {apiVersion: example.com/v1, kind: Limit}
  matchConstraints: {resourceRules: [{apiGroups: [example.com], apiVersions: ["*"], operations: [CREATE], resources: [things]}]}
  validations: [{expression: "object.size <= params.max && object.kind == 'Thing'", messageExpression: "'at most ' + string(params.max)"}]
`)
	w.create(`{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: b}, spec: {policyName: p, validationActions: [Deny], paramRef: {name: l, parameterNotFoundAction: Deny}}}`)
	w.mutation("m", "things", `
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: 'Object{note: "size " + string(object.size), parts: [Object.parts{name: "b", count: 2}]}'}
`)
	require.Eventually(t, func() bool {
		_, err := w.send(`{apiVersion: example.com/v1, kind: Limit, metadata: {name: l}, max: 3}`)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	var got *unstructured.Unstructured
	require.Eventually(t, func() (ok bool) {
		var err error
		got, err = w.send(`{apiVersion: example.com/v1, kind: Thing, metadata: {name: a, namespace: default}, size: 3, parts: [{name: a, count: 1}, {name: b, count: 1}]}`)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, "size 3", got.Object["note"])
	require.Equal(t, []any{map[string]any{"name": "a", "count": int64(1)}, map[string]any{"name": "b", "count": int64(2)}}, got.Object["parts"], "merged by the schema's keys")
	_, err := w.send(`{apiVersion: example.com/v1, kind: Thing, metadata: {name: b, namespace: default}, size: 4}`)
	require.EqualError(t, err, `things.example.com "b" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: at most 3`)
}
