package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
)

// agents reach every pod at one server, by port, and the node's own endpoints at another.
type agents struct {
	agentv1.UnimplementedPodAccessServiceServer
	ports map[int32]string
	own   string
	conn  grpc.ClientConnInterface
}

func (a *agents) DialNode(context.Context, *corev1.Node) (grpc.ClientConnInterface, error) {
	return a.conn, nil
}

func (a *agents) DialHTTPS(context.Context, *corev1.Node) (net.Conn, error) {
	return net.Dial("tcp", a.own)
}

func (a *agents) PortForward(stream agentv1.PodAccessService_PortForwardServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", a.ports[first.GetStart().GetPort()])
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	go func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				_ = conn.Close()
				return
			}
			_, _ = conn.Write(req.GetData())
		}
	}()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			_ = stream.Send(&agentv1.PortForwardResponse{Data: append([]byte(nil), buf[:n]...)})
		}
		if err != nil {
			return nil
		}
	}
}

// site is what runs in the pods: it shows what it was asked.
func site() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %q auth=%q uri=%s\n", r.Method, r.RequestURI, body, r.Header.Get("Authorization"), r.Header.Get("X-Forwarded-Uri"))
	})
	mux.HandleFunc("/old/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/new/?q=1", http.StatusFound)
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://example.com/", http.StatusFound)
	})
	mux.Handle("/echo", websocket.Handler(func(c *websocket.Conn) { _, _ = io.Copy(c, c) }))
	return mux
}

// proxyWorld is a gateway before a cluster with a pod "web" (port 8080 speaks HTTP, 8443 HTTPS), a Service "web" before
// it, and the pod's node.
func proxyWorld(t *testing.T) (*world, *client.Client) {
	t.Helper()
	plain, secure := httptest.NewServer(site()), httptest.NewTLSServer(site())
	t.Cleanup(func() { plain.Close(); secure.Close() })
	a := &agents{ports: map[int32]string{8080: plain.Listener.Addr().String(), 8443: secure.Listener.Addr().String()}, own: plain.Listener.Addr().String()}
	server := transport.NewServer(nil, nil)
	agentv1.RegisterPodAccessServiceServer(server, a)
	a.conn = server.Conn(identity.User{Name: identity.UserAPI})
	c := apitest.Start(t, func(config *api.Config) { config.Nodes = a })
	cl := c.Client(apitest.Admin)
	meta := metav1.ObjectMeta{Name: "web", Namespace: "default"}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "web"}}},
		Ports:     []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}, {Name: new("https"), Port: new(int32(8443))}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	for _, obj := range []client.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}},
		&corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "img", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}}}},
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "https", Port: 443}}}},
		slice,
	} {
		require.NoError(t, cl.Create(t.Context(), obj))
	}
	w := &world{keys: pkiOf(t, c.Identity)}
	w.url = serve(t, c.Server, w.keys, apart(t, c.Server, w.keys))
	w.http = w.keys.httpClient(t, true, false)
	w.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return w, cl
}

func TestRequestsGoOnToPodsServicesAndNodes(t *testing.T) {
	w, _ := proxyWorld(t)
	const ns = "/api/v1/namespaces/default/"
	for _, c := range []struct{ method, path, want string }{
		{"GET", ns + "pods/web/proxy/", "GET / "},
		{"GET", ns + "pods/web:8080/proxy/a/b?x=1&y=%20", "GET /a/b?x=1&y=%20 "},
		{"GET", ns + "pods/https:web:8443/proxy/a%2Fb", "GET /a%2Fb "},
		{"POST", ns + "services/web:http/proxy/form", `POST /form "text" `},
		{"DELETE", ns + "services/web:80/proxy/x/", "DELETE /x/ "},
		{"PATCH", ns + "services/https:web:https/proxy/x", `PATCH /x "text" `},
		{"OPTIONS", ns + "services/https:web:443/proxy/x", `OPTIONS /x `},
		{"GET", "/api/v1/nodes/n/proxy/healthz", "GET /healthz "},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, w.url+c.path, nil)
		require.NoError(t, err)
		if strings.Contains(c.want, "text") {
			req.Body = io.NopCloser(strings.NewReader("text"))
		}
		res, err := w.http.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, 200, res.StatusCode, "%s: %s", c.path, body)
		require.True(t, strings.HasPrefix(string(body), c.want), "%s: %s", c.path, body)
		require.Contains(t, string(body), "uri="+strings.Split(c.path, "?")[0])
		require.Contains(t, string(body), `auth=""`)
	}
}

func TestRedirectsOfWhatIsBehindLeadBack(t *testing.T) {
	w, _ := proxyWorld(t)
	const at = "/api/v1/namespaces/default/pods/web/proxy"
	for from, to := range map[string]string{
		at + "?a=b": at + "/?a=b", at + "/old/": at + "/new/?q=1", at + "/away": "https://example.com/",
	} {
		res, err := w.http.Get(w.url + from)
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, to, res.Header.Get("Location"), from)
	}
}

func TestWhatLeadsNowhereSaysSo(t *testing.T) {
	w, cl := proxyWorld(t)
	require.NoError(t, cl.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "empty", Namespace: "default"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}))
	const ns = "/api/v1/namespaces/default/"
	for path, want := range map[string]string{
		ns + "services/empty/proxy/":         `503 no endpoints available for service "empty"`,
		ns + "services/web:99/proxy/":        `503 no service port 99 found for service "web"`,
		ns + "services/ftp:web:http/proxy/":  `400 invalid service request "ftp:web:http"`,
		ns + "pods/other/proxy/":             `404 pods "other" not found`,
		ns + "pods/web:9999/proxy/":          `503`,
		ns + "configmaps/web/proxy/":         `404`,
		"/api/v1/nodes/web/proxy/":           `404 nodes "web" not found`,
		"/api/v1/namespaces/default/proxy/x": `404`,
	} {
		res, err := w.http.Get(w.url + path)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		code, text, _ := strings.Cut(want, " ")
		require.Equal(t, code, fmt.Sprint(res.StatusCode), "%s: %s", path, body)
		require.Contains(t, strings.ReplaceAll(string(body), `\"`, `"`), text, path)
	}
	// Without a name nobody may do it; a token for the cluster stays on this side.
	res, err := w.keys.httpClient(t, false, true).Get(w.url + ns + "pods/web/proxy/")
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, 403, res.StatusCode)
	require.Contains(t, string(body), `pods \"web\" is forbidden: User \"system:anonymous\" cannot get resource \"pods/proxy\"`)
}

func TestWebSocketsGoThrough(t *testing.T) {
	w, _ := proxyWorld(t)
	config, err := websocket.NewConfig(strings.Replace(w.url, "https", "wss", 1)+"/api/v1/namespaces/default/services/web:80/proxy/echo", "https://test")
	require.NoError(t, err)
	config.TlsConfig = w.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	conn, err := config.DialContext(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	for _, text := range []string{"one", strings.Repeat("long ", 50000)} {
		go func() { _, _ = conn.Write([]byte(text)) }()
		back := make([]byte, len(text))
		_, err := io.ReadFull(conn, back)
		require.NoError(t, err)
		require.True(t, text == string(back))
	}
}

func TestKubectlGetsRawPaths(t *testing.T) {
	w, _ := proxyWorld(t)
	k := w.kubectl(t)
	require.Contains(t, k.run("get --raw /api/v1/namespaces/default/services/web:http/proxy/hello"), "GET /hello")
	require.Contains(t, k.run("get --raw /api/v1/nodes/n/proxy/metrics"), "GET /metrics")
}
