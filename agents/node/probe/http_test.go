package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestHTTPGet(t *testing.T) {
	block := make(chan struct{})
	handler := http.NewServeMux()
	handler.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "app.example" || r.Header.Get("X-A") != "b" || r.UserAgent() != "kube-probe/1.37" || r.URL.RawQuery != "q=1" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	handler.HandleFunc("/down", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	handler.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/down", http.StatusFound) })
	handler.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
	})
	handler.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
	handler.HandleFunc("/hangs", func(http.ResponseWriter, *http.Request) { <-block })
	plainServer, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plainServer.Close()
	defer secure.Close()
	defer close(block)
	for path, want := range map[string]string{
		"/ok?q=1": "", "ok?q=1": "", "/down": "HTTP probe failed with statuscode: 503", "/moved": "HTTP probe failed with statuscode: 503",
		"/away": "", "/large": "", "/hangs": "context deadline exceeded", "/nowhere": "HTTP probe failed with statuscode: 404",
	} {
		for scheme, server := range map[corev1.URIScheme]*httptest.Server{corev1.URISchemeHTTP: plainServer, corev1.URISchemeHTTPS: secure} {
			u, err := url.Parse(server.URL)
			require.NoError(t, err)
			host, port, err := net.SplitHostPort(u.Host)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			err = HTTPGet(ctx, &corev1.Container{}, host, &corev1.HTTPGetAction{
				Path: path, Port: intstr.Parse(port), Scheme: scheme, HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "app.example"}, {Name: "X-A", Value: "b"}},
			})
			cancel()
			if want == "" {
				require.NoError(t, err, "%s %s", scheme, path)
			} else {
				require.ErrorContains(t, err, want, "%s %s", scheme, path)
			}
		}
	}
	require.ErrorContains(t, HTTPGet(context.Background(), &corev1.Container{}, "127.0.0.1", &corev1.HTTPGetAction{Port: intstr.FromInt32(1)}), "connection refused")
}

func BenchmarkHTTPGet(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	u, _ := url.Parse(server.URL)
	host, port, _ := net.SplitHostPort(u.Host)
	get := &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.Parse(port)}
	for b.Loop() {
		if err := HTTPGet(context.Background(), &corev1.Container{}, host, get); err != nil {
			b.Fatal(err)
		}
	}
}
