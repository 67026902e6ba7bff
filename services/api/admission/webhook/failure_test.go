package webhook_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/webhook"
	"karve.dev/karve/services/api/webhook/webhooktest"
)

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
		w.mu.Lock() // one that took too long may still be at work
		w.answer = func(_ string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return answer(r) }
		w.mu.Unlock()
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
	w.mu.Lock()
	w.answer = func(string, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{}
	}
	w.mu.Unlock()
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
