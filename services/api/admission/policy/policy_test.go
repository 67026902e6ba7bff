package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/apitest"
)

type world struct {
	*testing.T
	c  *apitest.Cluster
	cl *client.Client
}

func start(t *testing.T) *world {
	c := apitest.Start(t)
	return &world{t, c, c.Client(apitest.Admin)}
}

func decode(t testing.TB, text string) client.Object {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	require.NoError(t, err)
	return obj.(client.Object)
}

func (w *world) create(text string) client.Object {
	w.Helper()
	obj := decode(w, text)
	require.NoError(w, w.cl.Create(w.Context(), obj))
	return obj
}

// policy makes a ValidatingAdmissionPolicy "p" about ConfigMaps with this spec, and its binding "b".
func (w *world) policy(spec, binding string) {
	w.Helper()
	w.create(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: p}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: ["*"], resources: [configmaps]}]}
` + spec)
	if binding == "" {
		binding = "  validationActions: [Deny]"
	}
	w.create(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: b}
spec:
  policyName: p
` + binding)
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: data}
}

func (w *world) try(name string, data map[string]string) error {
	return w.cl.Create(w.Context(), configMap(name, data))
}

const denied = `configmaps "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: `

func TestAPolicyDenies(t *testing.T) {
	w := start(t)
	w.policy(`
  variables:
  - {name: size, expression: "has(object.data) ? size(object.data) : 0"}
  - {name: limit, expression: "variables.size > 100 ? 1 : 2"}
  matchConditions:
  - {name: not-exempt, expression: "!(has(object.metadata.labels) && 'exempt' in object.metadata.labels)"}
  validations:
  - {expression: "variables.size <= variables.limit", messageExpression: "'at most ' + string(variables.limit) + ' keys, not ' + string(variables.size)", reason: RequestEntityTooLarge}
  - {expression: "!has(object.data) || !('forbidden' in object.data)", message: " not that one "}
  - {expression: "object.metadata.name != 'plain'"}
`, "")
	require.NoError(t, w.try("ok", map[string]string{"a": "1"}))
	err := w.try("x", map[string]string{"a": "1", "b": "2", "c": "3"})
	require.EqualError(t, err, denied+"at most 2 keys, not 3")
	status := err.(apierrors.APIStatus).Status()
	require.Equal(t, int32(413), status.Code)
	require.Equal(t, metav1.StatusReasonRequestEntityTooLarge, status.Reason)
	require.Len(t, status.Details.Causes, 1)
	err = w.try("x", map[string]string{"forbidden": "1"})
	require.EqualError(t, err, denied+"not that one")
	require.True(t, apierrors.IsInvalid(err))
	require.Equal(t, int32(422), err.(apierrors.APIStatus).Status().Code)
	require.ErrorContains(t, w.try("plain", nil), "denied request: failed expression: object.metadata.name != 'plain'")

	exempt := configMap("plain", nil)
	exempt.Labels = map[string]string{"exempt": ""}
	require.NoError(t, w.cl.Create(t.Context(), exempt))
	exempt.Labels = nil
	require.ErrorContains(t, w.cl.Update(t.Context(), exempt), "failed expression", "updates are judged too")
	require.ErrorContains(t, w.cl.Delete(t.Context(), exempt, client.DeleteOptions{}), "no such key: metadata", "a deletion has no object")

	binding := decode(t, `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: b}}`)
	require.NoError(t, w.cl.Delete(t.Context(), binding, client.DeleteOptions{}))
	require.NoError(t, w.try("plain2", map[string]string{"forbidden": "1"}), "a policy that is not bound does nothing")
}

func TestWhatExpressionsSee(t *testing.T) {
	w := start(t)
	w.policy(`
  validations:
  - {expression: "request.operation in ['CREATE', 'DELETE'] || oldObject.data.k == object.data.k", message: k is fixed}
  - {expression: "request.userInfo.username == 'kubernetes-admin' && request.namespace == 'default' && request.resource.resource == 'configmaps'", message: request}
  - {expression: "namespaceObject.metadata.name == 'default' && namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == 'default'", message: namespace}
  - {expression: "authorizer.group('apps').resource('deployments').namespace('default').check('create').allowed() && authorizer.requestResource.check('get').allowed()", message: authorizer}
  - {expression: "request.operation == 'DELETE' ? object == null : object.kind == 'ConfigMap' && object.apiVersion == 'v1'", message: kind}
  - {expression: "request.operation != 'DELETE' || request.options.kind == 'DeleteOptions'", message: options}
  - {expression: "request.dryRun == false", message: dry runs are refused}
`, "")
	cm := configMap("x", map[string]string{"k": "v"})
	require.NoError(t, w.cl.Create(t.Context(), cm))
	cm.Data["other"] = "1"
	require.NoError(t, w.cl.Update(t.Context(), cm))
	cm.Data["k"] = "w"
	require.EqualError(t, w.cl.Update(t.Context(), cm), denied+"k is fixed")
	rpc := apiv1.NewResourceServiceClient(w.c.Conn(apitest.Admin))
	_, err := rpc.Delete(t.Context(), &apiv1.DeleteRequest{Ref: &apiv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", Namespace: "default", Name: "x"}, Options: &apiv1.DeleteOptions{DryRun: true}})
	require.ErrorContains(t, err, "dry runs are refused")
	require.NoError(t, w.cl.Delete(t.Context(), cm, client.DeleteOptions{}))
}

func TestErrorsOfExpressions(t *testing.T) {
	for policy, want := range map[string]string{
		"Fail":   denied + "expression 'object.data.missing == 1' resulted in error: no such key: missing",
		"Ignore": "",
	} {
		w := start(t)
		w.policy("  failurePolicy: "+policy+`
  validations:
  - {expression: "object.data.missing == 1"}
`, "")
		if err := w.try("x", map[string]string{"a": "b"}); want != "" {
			require.EqualError(t, err, want)
		} else {
			require.NoError(t, err)
		}
	}
}

func TestExpressionsMustNotCostTooMuch(t *testing.T) {
	w := start(t)
	w.policy(`
  validations:
  - {expression: "object.data.all(a, object.data.all(b, object.data.all(c, object.data[a] + object.data[b] != object.data[c])))"}
`, "")
	data := map[string]string{}
	for i := range 400 {
		data[string(rune('a'+i%26))+string(rune('a'+i/26))] = "v"
	}
	require.ErrorContains(t, w.try("x", data), "cost")
}

func TestWarnAndAudit(t *testing.T) {
	w := start(t)
	w.policy(`
  validations: [{expression: "false", message: never}]
  auditAnnotations: [{key: who, valueExpression: "'by ' + request.userInfo.username"}]
`, "  validationActions: [Warn, Audit]")
	data, err := json.Marshal(configMap("x", nil))
	require.NoError(t, err)
	res, err := apiv1.NewResourceServiceClient(w.c.Conn(apitest.Admin)).Create(t.Context(), &apiv1.CreateRequest{
		Ref:    &apiv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", Namespace: "default"},
		Object: &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: data},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': never"}, res.Warnings)
}

const limits = `
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConditions: [{name: not-the-params, expression: "!object.metadata.name.startsWith('limit')"}]
  validations:
  - {expression: "params == null || size(object.data) <= int(params.data.max)", messageExpression: "params.metadata.name + ' allows ' + params.data.max"}
`

func TestParameters(t *testing.T) {
	three := map[string]string{"a": "", "b": "", "c": ""}
	t.Run("by name", func(t *testing.T) {
		w := start(t)
		limit := configMap("limit", map[string]string{"max": "2"})
		limit.Namespace = "kube-system"
		require.NoError(t, w.cl.Create(t.Context(), limit))
		w.policy(limits, "  validationActions: [Deny]\n  paramRef: {name: limit, parameterNotFoundAction: Deny}")
		require.EqualError(t, w.try("x", three), denied+"failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
			"parameters are where the object is")
		bound := decode(t, `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: b}, spec: {policyName: p, validationActions: [Deny], paramRef: {name: limit, namespace: kube-system, parameterNotFoundAction: Deny}}}`)
		require.NoError(t, w.cl.Update(t.Context(), bound))
		require.EqualError(t, w.try("x", three), denied+"limit allows 2")
		limit.Data["max"] = "3"
		require.NoError(t, w.cl.Update(t.Context(), limit))
		require.NoError(t, w.try("x", three), "a change of the parameters holds at once")
	})
	t.Run("by selector", func(t *testing.T) {
		w := start(t)
		w.policy(limits, "  validationActions: [Deny]\n  paramRef: {selector: {matchLabels: {limit: yes-please}}, parameterNotFoundAction: Allow}")
		require.NoError(t, w.try("first", three))
		for name, max := range map[string]string{"limit1": "5", "limit2": "2"} {
			limit := configMap(name, map[string]string{"max": max})
			limit.Labels = map[string]string{"limit": "yes-please"}
			require.NoError(t, w.cl.Create(t.Context(), limit))
		}
		require.EqualError(t, w.try("x", three), denied+"limit2 allows 2")
	})
	t.Run("of a kind that is not there", func(t *testing.T) {
		w := start(t)
		w.policy(`
  paramKind: {apiVersion: example.com/v1, kind: Limit}
  validations: [{expression: "params != null"}]
`, "  validationActions: [Deny]\n  paramRef: {name: limit, parameterNotFoundAction: Allow}")
		require.ErrorContains(t, w.try("x", nil), "failed to configure binding: paramKind kind")
	})
}

func TestBindingsNarrow(t *testing.T) {
	w := start(t)
	w.c.Namespace("other")
	w.policy(`
  validations: [{expression: "false", message: "no"}]
`, `  validationActions: [Deny]
  matchResources:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}
    objectSelector: {matchLabels: {app: web}}
    excludeResourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps], resourceNames: [special]}]`)
	obj := func(name, namespace, app string) *corev1.ConfigMap {
		cm := configMap(name, nil)
		cm.Namespace, cm.Labels = namespace, map[string]string{"app": app}
		return cm
	}
	require.ErrorContains(t, w.cl.Create(t.Context(), obj("x", "default", "web")), "denied request: no")
	require.NoError(t, w.cl.Create(t.Context(), obj("x", "other", "web")))
	require.NoError(t, w.cl.Create(t.Context(), obj("x", "default", "db")))
	require.NoError(t, w.cl.Create(t.Context(), obj("special", "default", "web")))
}

func TestExpressionsThatDoNotCompileAreRefused(t *testing.T) {
	w := start(t)
	err := w.cl.Create(t.Context(), decode(t, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: bad}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: ["*"], resources: [configmaps]}]}
  variables: [{name: v, expression: "1 +"}]
  validations: [{expression: "1 + 1"}, {expression: "params.x", messageExpression: "'ok'"}]
`))
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	require.ErrorContains(t, err, `spec.variables[0].expression: Invalid value: "1 +": compilation failed: ERROR: <input>:1:4: Syntax error`)
	require.ErrorContains(t, err, `spec.validations[0].expression: Invalid value: "1 + 1": must evaluate to bool but got int`)
	require.ErrorContains(t, err, `undeclared reference to 'params'`)
	err = w.cl.Create(t.Context(), decode(t, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: bad}
webhooks: [{name: a.example.com, clientConfig: {url: "https://x"}, sideEffects: None, admissionReviewVersions: [v1], matchConditions: [{name: c, expression: "1"}]}]
`))
	require.ErrorContains(t, err, `webhooks[0].matchConditions[0].expression: Invalid value: "1": must evaluate to bool`)
}

func TestAuthorsMayReadWhatTheyUse(t *testing.T) {
	w := start(t)
	w.create(`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: author}, rules: [{apiGroups: [admissionregistration.k8s.io], resources: ["*"], verbs: ["*"]}, {apiGroups: [""], resources: [configmaps], verbs: [get]}]}`)
	w.create(`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: author}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: author}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]}`)
	jane := w.c.Client(identity.User{Name: "jane"})
	policy := func(kind string) client.Object {
		return decode(t, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: `+strings.ToLower(kind)+`}
spec:
  paramKind: {apiVersion: v1, kind: `+kind+`}
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: ["*"], resources: [pods]}]}
  validations: [{expression: "params != null"}]
`)
	}
	require.Eventually(t, func() bool { return jane.Create(t.Context(), policy("ConfigMap")) == nil }, 10*time.Second, time.Millisecond)
	err := jane.Create(t.Context(), policy("Secret"))
	require.EqualError(t, err, `validatingadmissionpolicies.admissionregistration.k8s.io "secret" is forbidden: user "jane" must have "get" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)`)
	require.NoError(t, w.cl.Create(t.Context(), policy("Secret")))
	for name, allowed := range map[string]bool{"configmap": true, "secret": false, "later": false} {
		err := jane.Create(t.Context(), decode(t, `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: `+name+
			`}, spec: {policyName: `+name+`, validationActions: [Deny], paramRef: {name: x, namespace: default, parameterNotFoundAction: Deny}}}`))
		require.Equal(t, allowed, err == nil, "%s: %v", name, err)
	}
}
