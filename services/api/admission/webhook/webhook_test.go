package webhook_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
)

func TestAWebhookRefuses(t *testing.T) {
	w := start(t)
	w.validating("v", on("configmaps", "*"), nil)
	w.effective()
	kept := configMap("kept")
	require.NoError(t, w.cl.Create(t.Context(), kept))

	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "not today", Code: 403, Reason: metav1.StatusReasonForbidden}}
	}
	err := w.cl.Create(t.Context(), configMap("a"))
	require.EqualError(t, err, `admission webhook "v.example.com" denied the request: not today`)
	require.True(t, apierrors.IsForbidden(err))
	r := w.last()
	require.Equal(t, admissionv1.Create, r.Operation)
	require.Equal(t, metav1.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, r.Kind)
	require.Equal(t, metav1.GroupVersionResource{Version: "v1", Resource: "configmaps"}, *r.RequestResource)
	require.Equal(t, "kubernetes-admin", r.UserInfo.Username)
	require.Equal(t, []string{"default", "a"}, []string{r.Namespace, r.Name})
	require.JSONEq(t, `{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}`, string(withoutManager(t, r.Options.Raw)))
	seen := &corev1.ConfigMap{}
	require.NoError(t, json.Unmarshal(r.Object.Raw, seen))
	require.Equal(t, "v1/ConfigMap", seen.APIVersion+"/"+seen.Kind)
	require.NotEmpty(t, seen.UID, "a validating webhook sees the finished object")
	require.Empty(t, r.OldObject.Raw)

	kept.Data["k"] = "w"
	require.ErrorContains(t, w.cl.Update(t.Context(), kept), "not today")
	require.Equal(t, admissionv1.Update, w.last().Operation)
	require.NotEqual(t, string(w.last().Object.Raw), string(w.last().OldObject.Raw))
	require.ErrorContains(t, w.cl.Delete(t.Context(), kept, client.DeleteOptions{}), "not today")
	require.Equal(t, admissionv1.Delete, w.last().Operation)
	require.Empty(t, w.last().Object.Raw)

	for want, result := range map[string]*metav1.Status{
		`admission webhook "v.example.com" denied the request without explanation`: nil,
		`admission webhook "v.example.com" denied the request: Gone`:               {Reason: metav1.StatusReasonGone, Code: 200},
	} {
		w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{Result: result}
		}
		err := w.cl.Create(t.Context(), configMap("a"))
		require.EqualError(t, err, want)
		require.Equal(t, int32(400), err.(apierrors.APIStatus).Status().Code)
	}
	require.Less(t, w.hook.Connections.Load(), int64(5), "connections are kept")
}

func withoutManager(t *testing.T, options []byte) []byte {
	var all map[string]any
	require.NoError(t, json.Unmarshal(options, &all))
	delete(all, "fieldManager")
	delete(all, "fieldValidation")
	out, err := json.Marshal(all)
	require.NoError(t, err)
	return out
}

func TestAWebhookChangesTheObject(t *testing.T) {
	w := start(t)
	w.answer = func(_ string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if r.Kind.Kind == "Pod" {
			return patch(set("/spec/containers/-", map[string]any{"name": "sidecar", "image": "s"}), set("/metadata/labels", map[string]any{"injected": "yes"}))
		}
		return patch(set("/data/added", "by webhook"), set("/data/nonsense", "x"), map[string]any{"op": "remove", "path": "/data/nonsense"})
	}
	w.mutating("m", append(on("configmaps", "CREATE", "UPDATE"), on("pods", "CREATE")...), nil)
	w.effective()
	cm := configMap("a")
	require.NoError(t, w.cl.Create(t.Context(), cm))
	require.Equal(t, map[string]string{"k": "v", "added": "by webhook"}, cm.Data)
	stored := &corev1.ConfigMap{}
	require.NoError(t, w.cl.Get(t.Context(), stored, "default", "a"))
	require.Equal(t, cm.Data, stored.Data)

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	require.NoError(t, w.cl.Create(t.Context(), pod))
	require.Len(t, pod.Spec.Containers, 2)
	sidecar := pod.Spec.Containers[1]
	require.Equal(t, corev1.TerminationMessageReadFile, sidecar.TerminationMessagePolicy, "what a webhook adds gets its defaults")
	require.Len(t, sidecar.VolumeMounts, 1, "the built-in plugins see what a webhook has added")
	require.Equal(t, "yes", pod.Labels["injected"])

	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(set("/metadata/name", "other"))
	}
	require.ErrorContains(t, w.cl.Update(t.Context(), cm), "field is immutable")
	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(map[string]any{"op": "test", "path": "/data/k", "value": "other"})
	}
	require.ErrorContains(t, w.cl.Create(t.Context(), configMap("b")), "Internal error occurred")
	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return patch(set("/kind", "Secret"))
	}
	require.ErrorContains(t, w.cl.Create(t.Context(), configMap("b")), "Internal error occurred: the object became a")
}

func TestMutatingWebhooksRunInOrderAndAgain(t *testing.T) {
	w := start(t)
	w.answer = func(path string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		cm := &corev1.ConfigMap{}
		_ = json.Unmarshal(r.Object.Raw, cm)
		if path == "b" && cm.Data["b"] == "" {
			return patch(set("/data/b", "yes"))
		}
		return allowed
	}
	again := func(h *admissionregistrationv1.MutatingWebhook) {
		h.ReinvocationPolicy = to(admissionregistrationv1.IfNeededReinvocationPolicy)
	}
	w.mutating("c", on("configmaps", "CREATE"), nil)
	w.mutating("b", on("configmaps", "CREATE"), again)
	w.mutating("a", on("configmaps", "CREATE"), again)
	w.mutating("a0", on("configmaps", "CREATE"), nil)
	w.effective()
	require.NoError(t, w.cl.Create(t.Context(), configMap("x")))
	require.Equal(t, []string{"a", "a0", "b", "c", "a"}, w.took(), "by name; those are asked again that want to, when others have changed the object after them")
	cm := configMap("y")
	cm.Data["b"] = "there"
	require.NoError(t, w.cl.Create(t.Context(), cm))
	require.Equal(t, []string{"a", "a0", "b", "c"}, w.took())
}

func TestWhoIsAsked(t *testing.T) {
	w := start(t)
	w.c.Namespace("other")
	match := func(e string) []admissionregistrationv1.MatchCondition {
		return []admissionregistrationv1.MatchCondition{{Name: "c", Expression: e}}
	}
	for name, change := range map[string]func(*admissionregistrationv1.ValidatingWebhook){
		"all": nil,
		"object": func(h *admissionregistrationv1.ValidatingWebhook) {
			h.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
		},
		"namespace": func(h *admissionregistrationv1.ValidatingWebhook) {
			h.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "other"}}
		},
		"cluster": func(h *admissionregistrationv1.ValidatingWebhook) {
			h.Rules[0].Scope = to(admissionregistrationv1.ClusterScope)
		},
		"condition": func(h *admissionregistrationv1.ValidatingWebhook) {
			h.MatchConditions = match(`object.metadata.name == "x" && request.userInfo.username != "jane"`)
		},
		"broken": func(h *admissionregistrationv1.ValidatingWebhook) {
			h.MatchConditions, h.FailurePolicy = match(`object.nothing.like.this == 1`), to(admissionregistrationv1.Ignore)
		},
		"authorizer": func(h *admissionregistrationv1.ValidatingWebhook) {
			h.MatchConditions = match(`authorizer.group("").resource("configmaps").namespace("default").check("delete").allowed()`)
		},
		"update": func(h *admissionregistrationv1.ValidatingWebhook) { h.Rules = on("configmaps", "UPDATE") },
		"status": func(h *admissionregistrationv1.ValidatingWebhook) { h.Rules = on("*/status", "*") },
	} {
		w.validating(name, on("*", "CREATE"), change)
	}
	w.effective()
	create := func(obj client.Object, want ...string) {
		t.Helper()
		require.NoError(t, w.cl.Create(t.Context(), obj))
		require.ElementsMatch(t, want, w.took())
	}
	labeled, elsewhere := configMap("labeled"), configMap("e")
	labeled.Labels, elsewhere.Namespace = map[string]string{"app": "web"}, "other"
	create(configMap("y"), "all", "authorizer")
	create(configMap("x"), "all", "authorizer", "condition")
	create(labeled, "all", "authorizer", "object")
	create(elsewhere, "all", "authorizer", "namespace")
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "third"}}, "all", "authorizer", "cluster")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	create(node, "all", "authorizer", "cluster", "namespace")
	require.NoError(t, w.cl.UpdateStatus(t.Context(), node))
	require.Equal(t, []string{"status"}, w.took())
	labeled.Data["x"] = "y"
	require.NoError(t, w.cl.Update(t.Context(), labeled))
	require.Equal(t, []string{"update"}, w.took())
	w.validating("more", on("*", "*"), nil)
	require.Empty(t, w.took(), "nobody is asked about configurations of webhooks")
}
