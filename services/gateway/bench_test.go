package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/gateway"
)

// discard is a ResponseWriter that costs nothing, so that only the gateway is measured.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Flush()                      {}

func newBenchHandler(b *testing.B) http.Handler {
	server := transport.NewServer(nil, nil)
	newFakeAPI().register(server)
	g, err := gateway.New(gateway.Config{API: server.Conn(identity.User{Name: identity.UserGateway})})
	require.NoError(b, err)
	go func() { _ = g.Sync(b.Context()) }()
	return g.Handler()
}

// BenchmarkHandlerGet measures a GET from the HTTP request to the answer's bytes, without the network.
func BenchmarkHandlerGet(b *testing.B) {
	h := newBenchHandler(b)
	for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf, application/json"} {
		b.Run(accept, func(b *testing.B) {
			b.ReportAllocs()
			req := httptest.NewRequest("GET", podPath, nil)
			req.Header.Set("Accept", accept)
			req.Header.Set("Authorization", "Bearer abc")
			for b.Loop() {
				h.ServeHTTP(&discard{http.Header{}}, req)
			}
		})
	}
}

// BenchmarkGet measures GETs over TLS on loopback, client included.
func BenchmarkGet(b *testing.B) {
	w := newWorld(b)
	for name, http2 := range map[string]bool{"http1": false, "http2": true} {
		b.Run(name, func(b *testing.B) {
			client := w.keys.httpClient(b, true, http2)
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					res, err := client.Get(w.url + podPath)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
		})
	}
}

// BenchmarkWatchEvents measures the framing of events, one at a time, without the network.
func BenchmarkWatchEvents(b *testing.B) {
	server := transport.NewServer(nil, nil)
	api := newFakeAPI()
	api.register(server)
	g, err := gateway.New(gateway.Config{API: server.Conn(identity.User{Name: identity.UserGateway})})
	require.NoError(b, err)
	go func() { _ = g.Sync(b.Context()) }()
	b.ReportAllocs()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Handler().ServeHTTP(&discard{http.Header{}}, httptest.NewRequest("GET", "/api/v1/pods?watch=1", nil))
	}()
	for b.Loop() {
		api.events <- &apiv1.WatchEvent{Type: apiv1.WatchEvent_TYPE_MODIFIED}
	}
	close(api.events)
	<-done
}

// BenchmarkClusterGet measures GETs of a pod through the gateway and the real API service over TLS on loopback, client
// included.
func BenchmarkClusterGet(b *testing.B) {
	w := cluster(b)
	pod := `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web"},"spec":{"containers":[{"name":"app","image":"my-app"}]}}`
	res, body := w.do(b, "POST", "/api/v1/namespaces/default/pods", pod, "Content-Type: application/json")
	require.Equal(b, 201, res.StatusCode, body)
	for name, accept := range map[string]string{"json": "application/json", "protobuf": "application/vnd.kubernetes.protobuf"} {
		b.Run(name, func(b *testing.B) {
			client := w.keys.httpClient(b, true, true)
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, _ := http.NewRequest("GET", w.url+podPath, nil)
					req.Header.Set("Accept", accept)
					res, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
		})
	}
}
