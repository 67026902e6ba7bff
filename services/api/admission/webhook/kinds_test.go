package webhook_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/apitest"
)

func TestSubresourcesAndOtherVersions(t *testing.T) {
	w := start(t)
	w.validating("v", []admissionregistrationv1.RuleWithOperations{
		{Operations: []admissionregistrationv1.OperationType{"*"}, Rule: admissionregistrationv1.Rule{APIGroups: []string{"autoscaling"}, APIVersions: []string{"v1"}, Resources: []string{"horizontalpodautoscalers"}}},
		{Operations: []admissionregistrationv1.OperationType{"*"}, Rule: admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"pods/binding", "pods/eviction", "deployments/scale", "serviceaccounts/token"}}},
	}, nil)
	w.effective()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "h", Namespace: "default"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		MaxReplicas: 3, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "d"},
	}}
	require.NoError(t, w.cl.Create(t.Context(), hpa))
	r := w.last()
	require.Equal(t, "v1", r.Kind.Version, "in the version that the rule names")
	require.Equal(t, "v2", r.RequestKind.Version)
	seen := &autoscalingv1.HorizontalPodAutoscaler{}
	require.NoError(t, json.Unmarshal(r.Object.Raw, seen))
	require.Equal(t, "autoscaling/v1", seen.APIVersion)
	require.Equal(t, int32(3), seen.Spec.MaxReplicas)

	labels := map[string]string{"a": "b"}
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "default"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
	}}
	require.NoError(t, w.cl.Create(t.Context(), d))
	rpc := apiv1.NewResourceServiceClient(w.c.Conn(apitest.Admin))
	_, err := rpc.Patch(t.Context(), &apiv1.PatchRequest{Ref: &apiv1.ObjectRef{ApiVersion: "apps/v1", Kind: "Deployment", Namespace: "default", Name: "d", Subresource: "scale"},
		Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"spec":{"replicas":5}}`)})
	require.NoError(t, err)
	r = w.last()
	require.Equal(t, metav1.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}, r.Kind)
	require.Equal(t, "scale", r.SubResource)
	scale := &autoscalingv1.Scale{}
	require.NoError(t, json.Unmarshal(r.Object.Raw, scale))
	require.Equal(t, int32(5), scale.Spec.Replicas)

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Spec: spec}
	require.NoError(t, w.cl.Create(t.Context(), pod))
	_, err = rpc.Create(t.Context(), &apiv1.CreateRequest{Ref: &apiv1.ObjectRef{ApiVersion: "v1", Kind: "Pod", Namespace: "default", Name: "p", Subresource: "binding"},
		Object: &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: []byte(`{"target":{"kind":"Node","name":"n"}}`)}})
	require.NoError(t, err)
	require.Equal(t, "Binding", w.last().Kind.Kind)
	require.Equal(t, "pods", w.last().Resource.Resource)
	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{}
	}
	_, err = rpc.Create(t.Context(), &apiv1.CreateRequest{Ref: &apiv1.ObjectRef{ApiVersion: "v1", Kind: "Pod", Namespace: "default", Name: "p", Subresource: "eviction"},
		Object: &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: []byte(`{}`)}})
	require.ErrorContains(t, err, "denied the request")
	require.Equal(t, metav1.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}, w.last().Kind)
}

func TestConnections(t *testing.T) {
	w := start(t)
	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{}
	}
	w.validating("v", on("pods/exec", "CONNECT"), func(h *admissionregistrationv1.ValidatingWebhook) {
		h.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "shell", Expression: `object.command[0] == "sh"`}}
	})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	require.NoError(t, w.cl.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}))
	require.NoError(t, w.cl.Create(t.Context(), pod))
	exec := func(command string) error {
		stream, err := agentv1.NewPodAccessServiceClient(w.c.Conn(apitest.Admin)).Exec(t.Context())
		require.NoError(t, err)
		require.NoError(t, stream.Send(&agentv1.ExecRequest{Message: &agentv1.ExecRequest_Start{Start: &agentv1.ExecStart{
			Pod: &agentv1.PodRef{Namespace: "default", Name: "p"}, Command: []string{command}, Stdout: true,
		}}}))
		_, err = stream.Recv()
		return err
	}
	require.ErrorContains(t, exec("sh"), `admission webhook "v.example.com" denied the request`)
	r := w.last()
	require.Equal(t, metav1.GroupVersionKind{Version: "v1", Kind: "PodExecOptions"}, r.Kind)
	require.Equal(t, []string{"pods", "exec", "CONNECT"}, []string{r.Resource.Resource, r.SubResource, string(r.Operation)})
	require.JSONEq(t, `{"kind":"PodExecOptions","apiVersion":"v1","stdout":true,"container":"c","command":["sh"]}`, string(r.Object.Raw))
	require.ErrorContains(t, exec("ls"), "reaches no nodes")
}

const colours = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: colours.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: colours, kind: Colour}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {name: {type: string}, hue: {type: integer, default: 7}, tags: {type: array, items: {type: string}}}}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

func TestCustomKinds(t *testing.T) {
	w := start(t)
	rpc := apiv1.NewResourceServiceClient(w.c.Conn(apitest.Admin))
	create := func(text string) (map[string]any, error) {
		data, err := yaml.YAMLToJSON([]byte(text))
		require.NoError(t, err)
		u := &unstructured.Unstructured{}
		require.NoError(t, json.Unmarshal(data, u))
		res, err := rpc.Create(t.Context(), &apiv1.CreateRequest{
			Ref: &apiv1.ObjectRef{ApiVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace()}, As: &apiv1.Representation{Encoding: apiv1.Encoding_ENCODING_JSON},
			Object: &apiv1.Object{ApiVersion: u.GetAPIVersion(), Kind: u.GetKind(), Encoding: apiv1.Encoding_ENCODING_JSON, Data: data},
		})
		var out map[string]any
		_ = json.Unmarshal(res.GetObject().GetData(), &out)
		return out, err
	}
	_, err := create(colours)
	require.NoError(t, err)
	w.answer = func(_ string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(set("/tags", []string{r.Kind.Version, string(r.Operation)}), set("/bogus", 1))
	}
	w.mutating("m", []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{"*"}, Rule: admissionregistrationv1.Rule{APIGroups: []string{"example.com"}, APIVersions: []string{"v1"}, Resources: []string{"colours"}},
	}}, nil)
	var got map[string]any
	require.Eventually(t, func() bool {
		got, err = create(`{apiVersion: example.com/v1, kind: Colour, metadata: {name: red, namespace: default}, name: red}`)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, []any{"v1", "CREATE"}, got["tags"])
	require.Equal(t, float64(7), got["hue"])
	require.NotContains(t, got, "bogus", "what the schema does not know is dropped")
	got, err = create(`{apiVersion: example.com/v2, kind: Colour, metadata: {name: blue, namespace: default}, name: blue}`)
	require.NoError(t, err)
	require.Equal(t, "example.com/v2", got["apiVersion"])
	require.Equal(t, []any{"v1", "CREATE"}, got["tags"], "shown in the version that the rule names, stored in that of the write")
}
