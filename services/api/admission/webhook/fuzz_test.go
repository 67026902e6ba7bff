package webhook

import (
	"net/http"
	"testing"

	"go.uber.org/zap"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/expression"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/webhook"
	"karve.dev/karve/services/api/webhook/webhooktest"
)

// FuzzAnswers lets a webhook answer anything.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL2RhdGEvYSIsInZhbHVlIjoiYiJ9XQ=="}}`,
		`{"response":{"allowed":true,"patch":"W3sib3AiOiJjb3B5IiwiZnJvbSI6Ii9kYXRhIiwicGF0aCI6Ii9kYXRhL2EifSx7Im9wIjoicmVtb3ZlIiwicGF0aCI6Ii8ifV0="}}`,
		`{"response":{"allowed":false,"status":{"code":-1,"message":"","reason":"x"},"warnings":["a",""],"auditAnnotations":{"":"x"}}}`, `null`, `[]`, `{"response":[]}`,
	} {
		f.Add([]byte(seed))
	}
	var answer []byte
	server := webhooktest.Start(f, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(answer) }))
	kind, _ := registry.Lookup(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	p := New(Config{Client: webhook.New(nil), Compiler: expression.NewCompiler(), Log: zap.NewNop()})
	url := server.URL
	hooks := p.mutating(&admissionregistrationv1.MutatingWebhookConfiguration{Webhooks: []admissionregistrationv1.MutatingWebhook{{
		Name: "m", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: server.CA}, AdmissionReviewVersions: []string{"v1beta1"},
	}}})
	f.Fuzz(func(t *testing.T, data []byte) {
		answer = data
		obj := &corev1.ConfigMap{Data: map[string]string{"k": "v"}}
		obj.Name, obj.Namespace = "a", "d"
		a := &admission.Attributes{Operation: admission.Create, Kind: kind, Namespace: "d", Name: "a", Object: obj, Warn: func(string) {}, Annotate: func(string, string) {}}
		views := match.NewViews(a)
		view, err := views.Of(kind)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.mutate(t.Context(), &call{hook: hooks[0], view: view}, views)
		if err != nil && err.Error() == "" {
			t.Fatal("a refusal without a word")
		}
	})
}
