package webhook_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/webhook"
	"karve.dev/karve/services/api/webhook/webhooktest"
)

func TestBehindAService(t *testing.T) {
	hook := webhooktest.Start(t, http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { _, _ = rw.Write([]byte(req.Host + req.URL.Path)) }), "hook.ns.svc")
	var asked []string
	c := webhook.New(func(ctx context.Context, namespace, service string, port int32) (net.Conn, error) {
		asked = append(asked, fmt.Sprint(namespace, "/", service, ":", port))
		return (&net.Dialer{}).DialContext(ctx, "tcp", hook.Address())
	})
	t.Cleanup(c.Close)
	e := webhook.Endpoint{Service: &webhook.Service{Namespace: "ns", Name: "hook", Path: "/p", Port: 8443}, CABundle: hook.CA}
	for range 3 {
		answer, err := c.Post(t.Context(), e, time.Second, []byte("{}"))
		require.NoError(t, err)
		require.Equal(t, "hook.ns.svc:8443/p", string(answer))
	}
	require.Equal(t, []string{"ns/hook:8443"}, asked, "one connection serves all")
	e.Service.Name = "other"
	_, err := c.Post(t.Context(), e, time.Second, []byte("{}"))
	require.ErrorContains(t, err, "certificate is valid for hook.ns.svc, localhost, not other.ns.svc")
}

func TestAKeptConnectionThatHasGoneIsNoFailure(t *testing.T) {
	hook := webhooktest.Start(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("{}")) }))
	c := webhook.New(nil)
	t.Cleanup(c.Close)
	for range 5 {
		_, err := c.Post(t.Context(), webhook.Endpoint{URL: hook.URL, CABundle: hook.CA}, time.Second, []byte("{}"))
		require.NoError(t, err)
		hook.Hangup()
	}
}
