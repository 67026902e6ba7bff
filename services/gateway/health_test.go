package gateway_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/gateway"
)

func TestHealthAndMetrics(t *testing.T) {
	w := newWorld(t)
	res, body := w.do(t, "GET", "/readyz", "")
	require.Equal(t, "200 ok", res.Status[:3]+" "+body)
	_, body = w.do(t, "GET", "/readyz?verbose", "")
	require.Equal(t, "[+]ping ok\n[+]etcd ok\n[+]gateway-kinds ok\n[+]shutdown ok\nreadyz check passed\n", body)
	_, body = w.do(t, "GET", "/livez/etcd", "")
	require.Equal(t, "ok", body)
	w.api.unhealthy = true
	res, body = w.do(t, "GET", "/livez", "")
	require.Equal(t, 500, res.StatusCode)
	require.Equal(t, "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n", body)
	res, _ = w.do(t, "GET", "/livez?exclude=etcd", "")
	require.Equal(t, 200, res.StatusCode)

	w.do(t, "GET", podPath, "")
	_, body = w.do(t, "GET", "/metrics", "")
	require.Contains(t, body, "up 1\n")
	require.Contains(t, body, `apiserver_request_total{code="200",component="apiserver",group="",resource="pods",scope="resource",subresource="",verb="GET",version="v1"} 1`)
}

func TestAPanicIsAnInternalError(t *testing.T) {
	w := newWorld(t)
	w.api.json = nil
	w.api.panics.Store(true)
	res, body := w.do(t, "GET", podPath, "")
	require.Equal(t, 500, res.StatusCode)
	require.Contains(t, body, `"reason":"InternalError"`)
	w.api.panics.Store(false)
	res, _ = w.do(t, "GET", podPath, "")
	require.Equal(t, 200, res.StatusCode)
}

func TestOverloadIsRefused(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) { c.MaxInFlight = 1 })
	w.api.hold = make(chan struct{})
	codes := make(chan int, 20)
	for range 20 {
		go func() {
			res, err := w.http.Get(w.url + podPath)
			if err != nil {
				codes <- 0
				return
			}
			res.Body.Close()
			if res.StatusCode == 429 && res.Header.Get("Retry-After") == "" {
				codes <- 0
				return
			}
			codes <- res.StatusCode
		}()
	}
	for range 9 {
		require.Equal(t, 429, <-codes, "one runs, ten wait, the rest is refused at once")
	}
	close(w.api.hold)
	for range 11 {
		require.Equal(t, 200, <-codes)
	}
}

func TestShutdownEndsWatchesAtOnce(t *testing.T) {
	w := &world{api: newFakeAPI(), keys: newPKI(t)}
	server := transport.NewServer(nil, nil)
	w.api.register(server)
	var body io.ReadCloser
	t.Run("serve", func(t *testing.T) {
		w.url = serve(t, server, w.keys)
		res, err := w.keys.httpClient(t, true, true).Get(w.url + "/api/v1/pods?watch=1")
		require.NoError(t, err)
		body = res.Body
	})
	defer body.Close()
	rest, err := io.ReadAll(body)
	require.NoError(t, err, "a watch that the shutdown ends is complete")
	require.Empty(t, bytes.TrimSpace(rest))
}
