package webhook_test

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/apitest"
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
