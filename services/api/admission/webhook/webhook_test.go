package webhook_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/webhook"
	"karve.dev/karve/services/api/webhook/webhooktest"
)

// world is a cluster and a webhook that writes down what it is asked.
type world struct {
	*testing.T
	c    *apitest.Cluster
	cl   *client.Client
	hook *webhooktest.Server

	mu     sync.Mutex
	asked  []string
	seen   []*admissionv1.AdmissionRequest
	answer func(path string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
}

var allowed = &admissionv1.AdmissionResponse{Allowed: true}

func start(t *testing.T) *world {
	w := &world{T: t, c: apitest.Start(t)}
	w.cl = w.c.Client(apitest.Admin)
	w.hook = webhooktest.Start(t, webhooktest.Admission(func(path string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked = append(w.asked, path[1:])
		w.seen = append(w.seen, r)
		answer := *w.answer(path[1:], r)
		return &answer
	}))
	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return allowed }
	return w
}

// took returns who was asked since the last time.
func (w *world) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.asked
	w.asked, w.seen = nil, nil
	return out
}

func (w *world) last() *admissionv1.AdmissionRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[len(w.seen)-1]
}

func to[T any](v T) *T { return &v }

func on(resource string, operations ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: operations, Rule: admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{resource}},
	}}
}

func (w *world) config(path string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{URL: to(w.hook.URL + "/" + path), CABundle: w.hook.CA}
}

// validating sets up a validating webhook, mutating a mutating one.
func (w *world) validating(name string, rules []admissionregistrationv1.RuleWithOperations, change func(*admissionregistrationv1.ValidatingWebhook)) *admissionregistrationv1.ValidatingWebhookConfiguration {
	w.Helper()
	hook := admissionregistrationv1.ValidatingWebhook{
		Name: name + ".example.com", ClientConfig: w.config(name), Rules: rules,
		SideEffects: to(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
	if change != nil {
		change(&hook)
	}
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.ValidatingWebhook{hook}}
	require.NoError(w, w.cl.Create(w.Context(), config))
	return config
}

func (w *world) mutating(name string, rules []admissionregistrationv1.RuleWithOperations, change func(*admissionregistrationv1.MutatingWebhook)) {
	w.Helper()
	hook := admissionregistrationv1.MutatingWebhook{
		Name: name + ".example.com", ClientConfig: w.config(name), Rules: rules,
		SideEffects: to(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
	if change != nil {
		change(&hook)
	}
	config := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.MutatingWebhook{hook}}
	require.NoError(w, w.cl.Create(w.Context(), config))
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string]string{"k": "v"}}
}

// effective waits until the API service knows the configurations: a consistent list waits for its cache.
func (w *world) effective() {
	w.Helper()
	require.NoError(w, w.cl.List(w.Context(), &corev1.NodeList{}, client.ListOptions{}))
	w.took()
}

func patch(ops ...map[string]any) *admissionv1.AdmissionResponse {
	data, _ := json.Marshal(ops)
	return &admissionv1.AdmissionResponse{Allowed: true, Patch: data, PatchType: to(admissionv1.PatchTypeJSONPatch)}
}

func set(path string, value any) map[string]any {
	return map[string]any{"op": "add", "path": path, "value": value}
}

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

func TestFailures(t *testing.T) {
	w := start(t)
	ignore := false
	w.validating("v", on("configmaps", "*"), func(h *admissionregistrationv1.ValidatingWebhook) {
		h.TimeoutSeconds = to(int32(1))
		h.AdmissionReviewVersions = []string{"v2", "v1"}
	})
	w.effective()
	refused := func(answer func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse, want string) {
		t.Helper()
		w.answer = func(_ string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return answer(r) }
		err := w.cl.Create(t.Context(), configMap("a"))
		if ignore {
			require.NoError(t, err)
			require.NoError(t, w.cl.Delete(t.Context(), configMap("a"), client.DeleteOptions{}))
			return
		}
		require.ErrorContains(t, err, `Internal error occurred: failed calling webhook "v.example.com": `+want)
		require.True(t, apierrors.IsInternalError(err))
	}
	for _, ignore = range []bool{false, true} {
		if ignore {
			config := &admissionregistrationv1.ValidatingWebhookConfiguration{}
			require.NoError(t, w.cl.Get(t.Context(), config, "", "v"))
			config.Webhooks[0].FailurePolicy = to(admissionregistrationv1.Ignore)
			require.NoError(t, w.cl.Update(t.Context(), config))
			w.effective()
		}
		refused(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{UID: "other", Allowed: true}
		}, `received invalid webhook response: expected response.uid="`)
		refused(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return patch(set("/data/a", "b")) },
			"received invalid webhook response: validating webhook may not return response.patch")
		refused(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			time.Sleep(1100 * time.Millisecond)
			return allowed
		}, `failed to call webhook: Post "`+w.hook.URL+`/v?timeout=1s": context deadline exceeded`)
	}
	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{}
	}
	require.ErrorContains(t, w.cl.Create(t.Context(), configMap("a")), "denied the request", "an answer is never ignored")
}

func TestTransportFailures(t *testing.T) {
	w := start(t)
	status, body := 404, "nothing here"
	other := webhooktest.Start(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte(body))
	}))
	hook := w.validating("v", on("configmaps", "*"), func(h *admissionregistrationv1.ValidatingWebhook) {
		h.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: to(other.URL), CABundle: other.CA}
	})
	w.effective()
	refused := func(want string) {
		t.Helper()
		require.ErrorContains(t, w.cl.Create(t.Context(), configMap("a")), want)
	}
	refused(`failed to call webhook: the server could not find the requested resource`)
	status, body = 500, "boom"
	refused(`failed to call webhook: an error on the server ("boom") has prevented the request from succeeding`)
	status, body = 302, ""
	refused(`failed calling webhook`)
	status, body = 200, strings.Repeat("x", webhook.MaxAnswer+1)
	refused("the answer has more than")
	body = "{}"
	refused("webhook response was absent")

	update := func(change func(c *admissionregistrationv1.WebhookClientConfig)) {
		require.NoError(t, w.cl.Get(t.Context(), hook, "", "v"))
		change(&hook.Webhooks[0].ClientConfig)
		require.NoError(t, w.cl.Update(t.Context(), hook))
		w.effective()
	}
	update(func(c *admissionregistrationv1.WebhookClientConfig) { c.CABundle = w.hook.CA })
	refused("certificate signed by unknown authority")
	update(func(c *admissionregistrationv1.WebhookClientConfig) {
		c.URL, c.Service = nil, &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "missing"}
	})
	refused(`Post "https://missing.default.svc:443/?timeout=10s": services "missing" not found`)
	update(func(c *admissionregistrationv1.WebhookClientConfig) {
		c.URL, c.Service = to("https://127.0.0.1:1/"), nil
	})
	refused("connect: connection refused")
}

func TestDryRunsAndWarnings(t *testing.T) {
	w := start(t)
	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: []string{"mind the gap"}}
	}
	w.validating("v", on("configmaps", "*"), nil)
	w.effective()
	rpc := apiv1.NewResourceServiceClient(w.c.Conn(apitest.Admin))
	send := func(dry bool) (*apiv1.Result, error) {
		data, err := json.Marshal(configMap("a"))
		require.NoError(t, err)
		return rpc.Create(t.Context(), &apiv1.CreateRequest{
			Ref:    &apiv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", Namespace: "default"},
			Object: &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: data}, Options: &apiv1.WriteOptions{DryRun: dry},
		})
	}
	res, err := send(true)
	require.NoError(t, err)
	require.Equal(t, []string{"mind the gap"}, res.Warnings)
	require.True(t, *w.last().DryRun)

	// Some side effects are known, and some webhooks were registered before they had to say.
	stored := configMap("a")
	require.NoError(t, w.cl.Create(t.Context(), stored))
	ref := &apiv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", Namespace: "default", Name: "a"}
	res, err = rpc.Patch(t.Context(), &apiv1.PatchRequest{Ref: ref, Type: apiv1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{"data":{"z":"1"}}`)})
	require.NoError(t, err)
	require.Equal(t, []string{"mind the gap"}, res.Warnings)
	res, err = rpc.Delete(t.Context(), &apiv1.DeleteRequest{Ref: ref})
	require.NoError(t, err)
	require.Equal(t, []string{"mind the gap"}, res.Warnings)
}

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
