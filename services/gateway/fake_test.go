package gateway_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/gateway"
)

// fakeAPI answers as an API service with a single pod would, and remembers what it was asked.
type fakeAPI struct {
	apiv1.UnimplementedResourceServiceServer
	apiv1.UnimplementedDiscoveryServiceServer
	systemv1.UnimplementedSystemServiceServer

	pod       *corev1.Pod
	json, raw []byte
	events    chan *apiv1.WatchEvent
	unhealthy bool
	// panics makes Get panic; hold, when set, makes it wait.
	panics atomic.Bool
	hold   chan struct{}

	mu   sync.Mutex
	last proto.Message
	md   metadata.MD
}

func newFakeAPI() *fakeAPI {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", ResourceVersion: "7"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "my-app"}}},
	}
	f := &fakeAPI{pod: pod, events: make(chan *apiv1.WatchEvent, 10)}
	f.json, _ = json.Marshal(pod)
	f.raw, _ = pod.Marshal()
	return f
}

func (f *fakeAPI) saw(ctx context.Context, m proto.Message) {
	md, _ := metadata.FromIncomingContext(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last, f.md = m, md
}

func (f *fakeAPI) seen() (proto.Message, metadata.MD) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, f.md
}

func (f *fakeAPI) object(as *apiv1.Representation) *apiv1.Object {
	if as.GetEncoding() == apiv1.Encoding_ENCODING_JSON {
		return &apiv1.Object{ApiVersion: "v1", Kind: "Pod", Encoding: apiv1.Encoding_ENCODING_JSON, Data: f.json}
	}
	return &apiv1.Object{ApiVersion: "v1", Kind: "Pod", Encoding: apiv1.Encoding_ENCODING_PROTOBUF, Data: f.raw}
}

func (f *fakeAPI) answer(ctx context.Context, m proto.Message, as *apiv1.Representation) (*apiv1.Result, error) {
	f.saw(ctx, m)
	return &apiv1.Result{Object: f.object(as), Warnings: []string{`a "warning"`}}, nil
}

func (f *fakeAPI) Get(ctx context.Context, req *apiv1.GetRequest) (*apiv1.Result, error) {
	if f.panics.Load() {
		panic("a bug")
	}
	if f.hold != nil {
		<-f.hold
	}
	if name := req.GetRef().GetName(); name != "web" {
		return nil, apierr.ToGRPC(apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name))
	}
	return f.answer(ctx, req, req.GetAs())
}

// List answers in pieces of one byte where it may.
func (f *fakeAPI) List(ctx context.Context, req *apiv1.ListRequest) (*apiv1.Result, error) {
	res, err := f.answer(ctx, req, req.GetAs())
	if o := res.GetObject(); err == nil && req.GetAs().GetInPieces() {
		all := o.GetData()
		for o.Data = all[:1]; len(o.Pieces)+1 < len(all); {
			o.Pieces = append(o.Pieces, all[len(o.Pieces)+1:][:1])
		}
	}
	return res, err
}

func (f *fakeAPI) Create(ctx context.Context, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	return f.answer(ctx, req, req.GetAs())
}

func (f *fakeAPI) Update(ctx context.Context, req *apiv1.UpdateRequest) (*apiv1.Result, error) {
	return f.answer(ctx, req, req.GetAs())
}

func (f *fakeAPI) Patch(ctx context.Context, req *apiv1.PatchRequest) (*apiv1.Result, error) {
	return f.answer(ctx, req, req.GetAs())
}

func (f *fakeAPI) Delete(ctx context.Context, req *apiv1.DeleteRequest) (*apiv1.Result, error) {
	return f.answer(ctx, req, req.GetAs())
}

func (f *fakeAPI) DeleteCollection(ctx context.Context, req *apiv1.DeleteCollectionRequest) (*apiv1.Result, error) {
	return f.answer(ctx, req, req.GetAs())
}

func (f *fakeAPI) Watch(req *apiv1.WatchRequest, stream grpc.ServerStreamingServer[apiv1.WatchResponse]) error {
	f.saw(stream.Context(), req)
	if req.GetResourceVersion() == "1" {
		return apierr.ToGRPC(apierrors.NewResourceExpired("too old"))
	}
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	for {
		select {
		case ev, ok := <-f.events:
			if !ok {
				return apierr.ToGRPC(apierrors.NewResourceExpired("too old"))
			}
			if ev.Object == nil {
				ev.Object = f.object(req.GetAs())
			}
			if err := stream.Send(&apiv1.WatchResponse{Events: []*apiv1.WatchEvent{ev}}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

var all = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

func (f *fakeAPI) WatchKinds(_ *apiv1.WatchKindsRequest, stream grpc.ServerStreamingServer[apiv1.WatchKindsResponse]) error {
	pods := &apiv1.KindInfo{Version: "v1", Kind: "Pod", ListKind: "PodList", Resource: "pods", Singular: "pod", ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true, Verbs: all, Preferred: true}
	for _, name := range []string{"exec", "attach", "portforward"} {
		pods.Subresources = append(pods.Subresources, &apiv1.SubresourceInfo{Name: name, Verbs: []string{"create", "get"}})
	}
	pods.Subresources = append(pods.Subresources, &apiv1.SubresourceInfo{Name: "log", Verbs: []string{"get"}},
		&apiv1.SubresourceInfo{Name: "status", Verbs: []string{"get", "patch", "update"}},
		&apiv1.SubresourceInfo{Name: "eviction", Group: "policy", Version: "v1", Kind: "Eviction", Verbs: []string{"create"}})
	namespaces := &apiv1.KindInfo{Version: "v1", Kind: "Namespace", Resource: "namespaces", Singular: "namespace", Verbs: all}
	deployments := &apiv1.KindInfo{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Singular: "deployment", Namespaced: true, Verbs: all}
	if err := stream.Send(&apiv1.WatchKindsResponse{Kinds: []*apiv1.KindInfo{pods, namespaces, deployments}}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (f *fakeAPI) GetOpenAPI(context.Context, *apiv1.GetOpenAPIRequest) (*apiv1.GetOpenAPIResponse, error) {
	return &apiv1.GetOpenAPIResponse{Document: []byte(`{"openapi":"3.0.0"}`), Etag: "ABC"}, nil
}

func (f *fakeAPI) Check(context.Context, *systemv1.CheckRequest) (*systemv1.CheckResponse, error) {
	res := &systemv1.CheckResponse{Checks: []*systemv1.CheckResponse_Check{{Name: "etcd"}}}
	if f.unhealthy {
		res.Checks[0].Error = "no leader"
	}
	return res, nil
}

func (f *fakeAPI) GetMetrics(context.Context, *systemv1.GetMetricsRequest) (*systemv1.GetMetricsResponse, error) {
	return &systemv1.GetMetricsResponse{Text: []byte("# TYPE up gauge\nup 1\n")}, nil
}

func (f *fakeAPI) Authorize(ctx context.Context, req *systemv1.AuthorizeRequest) (*systemv1.AuthorizeResponse, error) {
	if req.GetPath() == "/secret" {
		return nil, apierr.ToGRPC(apierrors.NewForbidden(schema.GroupResource{}, "", nil))
	}
	return &systemv1.AuthorizeResponse{}, nil
}

func (f *fakeAPI) register(s *transport.Server) {
	apiv1.RegisterResourceServiceServer(s, f)
	apiv1.RegisterDiscoveryServiceServer(s, f)
	systemv1.RegisterSystemServiceServer(s, f)
}

// pki is a cluster authority with an administrator's certificate.
type pki struct {
	cluster *identity.Cluster
	admin   *identity.Leaf
	roots   *x509.CertPool
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	c, err := identity.LoadOrCreate(t.TempDir(), identity.Options{Name: "test"})
	require.NoError(t, err)
	return pkiOf(t, c)
}

func pkiOf(t testing.TB, c *identity.Cluster) *pki {
	t.Helper()
	leaf, err := c.Issue(identity.ClientSpec(identity.User{Name: "kubernetes-admin", Groups: []string{identity.GroupMasters}}))
	require.NoError(t, err)
	k := &pki{cluster: c, admin: leaf, roots: x509.NewCertPool()}
	k.roots.AddCert(c.CA())
	return k
}

func (k *pki) adminPEM() (cert, key []byte) { return k.admin.CertPEM, k.admin.KeyPEM }

var gatewayUser = identity.User{Name: identity.UserGateway}

// serve runs a gateway over TLS until the test ends and returns its URL.
func serve(t testing.TB, api *transport.Server, keys *pki, change ...func(*gateway.Config)) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := gateway.Config{
		API: api.Conn(gatewayUser),
		TLS: keys.cluster.ServerTLS(identity.Spec{CommonName: "karve-gateway", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}),
	}
	for _, c := range change {
		c(&cfg)
	}
	g, err := gateway.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, lis) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Error("the gateway did not stop")
		}
		api.Wait()
	})
	return "https://" + lis.Addr().String()
}

// client returns an HTTP client that trusts the authority; with certificate it also shows the client's.
func (k *pki) httpClient(t testing.TB, certificate, http2 bool) *http.Client {
	conf := &tls.Config{RootCAs: k.roots}
	if certificate {
		conf.Certificates = []tls.Certificate{k.admin.TLS}
	}
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: http2, MaxIdleConnsPerHost: 100, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}
