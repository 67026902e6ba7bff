package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/openapi"
)

func TestTypesAreChecked(t *testing.T) {
	c := apitest.Start(t, func(config *api.Config) { config.OpenAPI = openapi.Document })
	w := &world{t, c, c.Client(apitest.Admin)}
	w.define("thing", "Thing", "Namespaced")
	require.Eventually(t, func() bool {
		_, err := w.send(`{apiVersion: example.com/v1, kind: Thing, metadata: {name: a, namespace: default}}`)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	w.create(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: p}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints: {resourceRules: [
    {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments, deployments/scale]},
    {apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [things]}]}
  variables: [{name: count, expression: "object.spec.replicas"}]
  validations:
  - {expression: "object.metadata.name != '' && params.data.size() > 0"}
  - {expression: "object.spec.replicas > '1'", messageExpression: "string(object.spec.nonsense)"}
  - {expression: "has(object.size) && object.size > 1"}
`)
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
	require.Eventually(t, func() bool {
		require.NoError(t, w.cl.Get(t.Context(), policy, "", "p"))
		return policy.Status.TypeChecking != nil
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, policy.Generation, policy.Status.ObservedGeneration)
	found := map[string]string{}
	for _, warning := range policy.Status.TypeChecking.ExpressionWarnings {
		found[warning.FieldRef] = warning.Warning
	}
	require.Len(t, found, 3, "%v", found)
	require.Contains(t, found["spec.validations[1].expression"], "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'")
	require.Contains(t, found["spec.validations[1].expression"], "example.com/v1, Kind=Thing: ERROR: <input>:1:7: undefined field 'spec'")
	require.Contains(t, found["spec.validations[1].messageExpression"], "undefined field 'nonsense'")
	require.NotContains(t, found["spec.validations[2].expression"], "Thing")
}
