package gateway_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/openapi"
)

// garden is another API server: it serves flowers, to those whom the front proxy names.
type garden struct {
	roots *x509.CertPool
	down  atomic.Bool
}

func (g *garden) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verified := len(r.TLS.PeerCertificates) > 0
	if verified {
		_, err := r.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: g.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		verified = err == nil && r.TLS.PeerCertificates[0].Subject.CommonName == identity.FrontProxyName
	}
	switch {
	case g.down.Load():
		http.Error(w, "down", http.StatusInternalServerError)
	case !verified || r.Header.Get("X-Remote-User") == "" || r.Header.Get("Authorization") != "":
		http.Error(w, "who are you?", http.StatusUnauthorized)
	default:
		gardenPaths.ServeHTTP(w, r)
	}
}

var gardenPaths = func() *http.ServeMux {
	mux := http.NewServeMux()
	answer := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		})
	}
	answer("/apis/garden.test/v1", `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"garden.test/v1","resources":[`+
		`{"name":"flowers","singularName":"flower","namespaced":true,"kind":"Flower","verbs":["get","list","watch"],"shortNames":["fl"]},`+
		`{"name":"flowers/status","singularName":"","namespaced":true,"kind":"Flower","verbs":["get"]}]}`)
	const rose = `{"kind":"Flower","apiVersion":"garden.test/v1","metadata":{"name":"rose","namespace":"default"}}`
	mux.HandleFunc("/apis/garden.test/v1/namespaces/default/flowers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") != "" {
			fmt.Fprintf(w, `{"type":"ADDED","object":%s}`+"\n", rose)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, `{"kind":"FlowerList","apiVersion":"garden.test/v1","metadata":{"resourceVersion":"1"},"items":[%s]}`, rose)
	})
	mux.HandleFunc("/apis/garden.test/v1/namespaces/default/flowers/me", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %q", r.Header.Get("X-Remote-User"), r.Header.Values("X-Remote-Group"))
	})
	answer("/openapi/v3", `{"paths":{"apis/garden.test/v1":{"serverRelativeURL":"/openapi/v3/apis/garden.test/v1?hash=ABC"}}}`)
	answer("/openapi/v3/apis/garden.test/v1", `{"openapi":"3.0.0","info":{"title":"garden","version":"1"},"paths":{"/apis/garden.test/v1/namespaces/{namespace}/flowers":{"get":{`+
		`"x-kubernetes-action":"list","x-kubernetes-group-version-kind":{"group":"garden.test","version":"v1","kind":"Flower"}}}},"components":{"schemas":{"test.garden.v1.Flower":{`+
		`"type":"object","description":"Flower is what grows.","properties":{"colour":{"type":"string","description":"What it looks like."}},`+
		`"x-kubernetes-group-version-kind":[{"group":"garden.test","version":"v1","kind":"Flower"}]}}}}`)
	answer("/openapi/v2", `{"swagger":"2.0","paths":{"/apis/garden.test/v1/flowers":{},"/apis/apps/v1/evil":{}},"definitions":{"test.garden.v1.Flower":{"type":"object"}}}`)
	return mux
}()

// ownAddress is an address of this machine that endpoints may have.
func ownAddress(t *testing.T) string {
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but its loopback's")
	return ""
}

// gardenWorld is a gateway before a cluster with a garden behind Service default/garden.
func gardenWorld(t *testing.T) (*world, *client.Client, *garden) {
	t.Helper()
	c := apitest.Start(t, func(c *api.Config) { c.OpenAPI = openapi.Document })
	front, err := c.Identity.FrontProxy()
	require.NoError(t, err)
	g := &garden{roots: x509.NewCertPool()}
	g.roots.AppendCertsFromPEM(front.CAPEM())
	leaf, err := c.Identity.Issue(identity.Spec{CommonName: "garden", DNSNames: []string{"garden.default.svc"}})
	require.NoError(t, err)
	address := ownAddress(t)
	server := httptest.NewUnstartedServer(g)
	server.Listener, err = net.Listen("tcp", net.JoinHostPort(address, "0"))
	require.NoError(t, err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{leaf.TLS}, ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	cl := c.Client(apitest.Admin)
	meta := metav1.ObjectMeta{Name: "garden", Namespace: "default"}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
		Ports: []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(server.Listener.Addr().(*net.TCPAddr).Port))}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "garden"}
	require.NoError(t, cl.Create(t.Context(), slice))
	require.NoError(t, cl.Create(t.Context(), &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}}))
	w := &world{keys: pkiOf(t, c.Identity)}
	w.url = serve(t, c.Server, w.keys)
	w.http = w.keys.httpClient(t, true, true)
	return w, cl, g
}

func gardenService(ca []byte) string {
	return fmt.Sprintf(`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1.garden.test"},"spec":{"group":"garden.test","version":"v1",`+
		`"groupPriorityMinimum":17790,"versionPriority":15,"service":{"namespace":"default","name":"garden"},"caBundle":"%s"}}`, base64.StdEncoding.EncodeToString(ca))
}

func TestKubectlUsesAnotherServersAPI(t *testing.T) {
	w, _, garden := gardenWorld(t)
	k := w.kubectl(t)
	k.run("apply -f -", gardenService(w.keys.cluster.CAPEM()))
	k.run("wait --for=condition=Available apiservice/v1.garden.test --timeout=10s")
	require.Regexp(t, `v1.garden.test +default/garden +True`, k.run("get apiservices v1.garden.test --no-headers"))
	require.Contains(t, k.run("get flowers -o name"), "flower.garden.test/rose")
	require.Contains(t, k.run("api-resources --api-group=garden.test"), "fl")
	require.Contains(t, k.run("explain flower"), "Flower is what grows.")
	require.Equal(t, `kubernetes-admin ["system:masters" "system:authenticated"]`, k.run("get --raw /apis/garden.test/v1/namespaces/default/flowers/me"))
	groups := k.run("get --raw /apis")
	require.Less(t, strings.Index(groups, `"apps"`), strings.Index(groups, `"garden.test"`), "17800 before 17790")
	require.Less(t, strings.Index(groups, `"garden.test"`), strings.Index(groups, `"events.k8s.io"`), "17790 before 17750")
	second := k.run("get --raw /openapi/v2")
	require.True(t, strings.Contains(second, "test.garden.v1.Flower"))
	require.False(t, strings.Contains(second, "evil"))

	res, err := w.http.Get(w.url + "/apis/garden.test/v1/namespaces/default/flowers?watch=true")
	require.NoError(t, err)
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, `"ADDED"`)
	require.NoError(t, res.Body.Close())

	garden.down.Store(true)
	k.run("annotate service garden touched=yes") // what concerns the server makes the aggregator look
	require.Eventually(t, func() bool {
		return strings.Contains(k.run("get apiservices v1.garden.test --no-headers"), "False (FailedDiscoveryCheck)")
	}, 20*time.Second, 50*time.Millisecond)
	out, err := k.command("get flowers").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "the server is currently unable to handle the request")
	require.Contains(t, k.run("get --raw /apis"), "garden.test")
	require.Contains(t, k.run("get configmaps -A -o name"), "extension-apiserver-authentication")

	garden.down.Store(false)
	k.run("wait --for=condition=Available apiservice/v1.garden.test --timeout=20s")
	require.Contains(t, k.run("get flowers -o name"), "flower.garden.test/rose")
	k.run("delete apiservice v1.garden.test")
	require.Eventually(t, func() bool { return !strings.Contains(k.run("get --raw /apis"), "garden.test") }, 10*time.Second, 20*time.Millisecond)
}

func TestEachGroupVersionHasItsAPIService(t *testing.T) {
	w := cluster(t)
	k := w.kubectl(t)
	var shown string
	require.Eventually(t, func() bool {
		shown = k.run("get apiservices")
		return strings.Contains(shown, "v1.apps")
	}, 10*time.Second, 20*time.Millisecond)
	require.Regexp(t, `(?m)^v1\. +Local +True`, shown)
	require.Regexp(t, `(?m)^v2\.autoscaling +Local +True`, shown)
	require.NotContains(t, shown, "v1.apiregistration.k8s.io")
	k.run("apply -f -", `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"trees.garden.test"},"spec":{"group":"garden.test","scope":"Cluster",`+
		`"names":{"plural":"trees","kind":"Tree"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`)
	k.run("wait --for=create apiservice/v1.garden.test --timeout=10s")
	require.Equal(t, "1000 100 true", k.run("get apiservice v1.garden.test -o jsonpath={.spec.groupPriorityMinimum}{'\\x20'}{.spec.versionPriority}{'\\x20'}{.metadata.labels.kube-aggregator\\.kubernetes\\.io/automanaged}"))
	k.run("delete crd trees.garden.test")
	k.run("wait --for=delete apiservice/v1.garden.test --timeout=10s")
	k.run("delete apiservice v1.apps")
	k.run("wait --for=create apiservice/v1.apps --timeout=10s")
}
