package gateway_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/gateway"
)

// TestTheAPIInAnotherProcess runs the gateway as its own process would: over mTLS instead of in-memory calls.
func TestTheAPIInAnotherProcess(t *testing.T) {
	w := &world{api: newFakeAPI(), keys: newPKI(t)}
	server := transport.NewServer(nil, nil)
	w.api.register(server)
	agentv1.RegisterPodAccessServiceServer(server, fakePods{})
	w.url = serve(t, server, w.keys, apart(t, server, w.keys))
	w.http = w.keys.httpClient(t, true, true)
	ctx := t.Context()

	_, body := w.do(t, "GET", podPath, "", "Impersonate-User: jane")
	require.Equal(t, string(w.api.json)+"\n", body)
	_, md := w.api.seen()
	require.Equal(t, []string{"kubernetes-admin"}, md["x-remote-user"])
	require.Equal(t, []string{"jane"}, md["impersonate-user"])
	res, _ := w.do(t, "GET", "/api/v1/namespaces/default/pods/nobody", "")
	require.Equal(t, 404, res.StatusCode)
	res, _ = w.do(t, "GET", "/api/v1/pods?watch=1&resourceVersion=1", "")
	require.Equal(t, 410, res.StatusCode)
	watch, err := w.clientset(t).CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
	require.NoError(t, err, "a watch answers before its first event")
	watch.Stop()
	for name, e := range w.executors(t, "exec", "web", &corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true}) {
		var out bytes.Buffer
		require.NoError(t, e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out}), name)
		require.Equal(t, "hello", out.String(), name)
	}
}

// apart makes a gateway call the API over mTLS, as from another process.
func apart(t *testing.T, server *transport.Server, keys *pki) func(*gateway.Config) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, lis, keys.cluster.ServerTLS(identity.Spec{CommonName: "api", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}))
	}()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	conn, err := transport.Dial(lis.Addr().String(), keys.cluster.ClientTLS(gatewayUser))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return func(c *gateway.Config) { c.API = conn }
}

func TestHealthWithoutTheAPI(t *testing.T) {
	w := &world{keys: newPKI(t)}
	conn, err := transport.Dial("127.0.0.1:1", w.keys.cluster.ClientTLS(gatewayUser))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	w.url = serve(t, transport.NewServer(nil, nil), w.keys, func(c *gateway.Config) { c.API = conn })
	w.http = w.keys.httpClient(t, true, true)
	res, body := w.do(t, "GET", "/readyz", "")
	require.Equal(t, 500, res.StatusCode)
	require.Equal(t, "[+]ping ok\n[-]api failed: reason withheld\n[-]gateway-kinds failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n", body)
	res, _ = w.do(t, "GET", "/version", "")
	require.Equal(t, 503, res.StatusCode)
}
