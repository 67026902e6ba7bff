package probe

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestHTTP(t *testing.T) {
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
	handler.HandleFunc("/slowly", func(w http.ResponseWriter, _ *http.Request) {
		for _, piece := range []string{"a", "b"} {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
			<-time.After(20 * time.Millisecond)
		}
	})
	handler.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "short")
	})
	handler.HandleFunc("/nonsense", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n")
		<-block
	})
	handler.HandleFunc("/closes", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	m := start(t)
	plainServer, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(plainServer.Close)
	t.Cleanup(secure.Close)
	t.Cleanup(func() { close(block) })
	for path, want := range map[string]string{
		"/ok?q=1": "", "ok?q=1": "", "/down": "HTTP probe failed with statuscode: 503", "/moved": "HTTP probe failed with statuscode: 503",
		"/away": "Liveness probe warning: Probe terminated redirects, Response body: ", "/large": "", "/hangs": "context deadline exceeded", "/nowhere": "HTTP probe failed with statuscode: 404",
		"/slowly": "", "/cut": "unexpected EOF", "/closes": "EOF", "/nonsense": "invalid byte in chunk length",
	} {
		for scheme, server := range map[corev1.URIScheme]*httptest.Server{corev1.URISchemeHTTP: plainServer, corev1.URISchemeHTTPS: secure} {
			t.Run(string(scheme)+path, func(t *testing.T) {
				t.Parallel()
				said := probed(t, m, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
					Path: path, Port: intstr.FromInt(portOf(t, server.Listener.Addr().String())), Scheme: scheme,
					HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "app.example"}, {Name: "X-A", Value: "b"}},
				}}})
				if want == "" {
					require.Empty(t, said)
				} else {
					require.Contains(t, said, want)
				}
			})
		}
	}
}

// TestPortsThatDoNotAnswer shows what is said of them.
func TestPortsThatDoNotAnswer(t *testing.T) {
	m := start(t)
	refused := "dial tcp 127.0.0.1:1: connect: connection refused"
	http := &corev1.HTTPGetAction{Path: "/x", Port: intstr.FromInt32(1)}
	require.Equal(t, `Liveness probe failed: Get "http://127.0.0.1:1/x": `+refused, probed(t, m, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: http}}))
	require.Equal(t, "Liveness probe failed: "+refused, probed(t, m, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}}}))

	full, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) // one whose queue of connections is full takes no more
	require.NoError(t, err)
	defer unix.Close(full)
	require.NoError(t, unix.Bind(full, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(full, 0))
	name, err := unix.Getsockname(full)
	require.NoError(t, err)
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	occupier, err := net.Dial("tcp", addr.String())
	require.NoError(t, err)
	defer occupier.Close()
	silent := &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(addr.Port()))}
	require.Equal(t, "Liveness probe failed: dial tcp "+addr.String()+": i/o timeout", probed(t, m, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: silent}}))
}

// probed makes a probe once, as a liveness probe, and returns what is said about it.
func probed(t *testing.T, m *Manager, p *corev1.Probe) string {
	p.PeriodSeconds, p.FailureThreshold = 600, 1
	said := make(chan string, 1)
	tg := target(&corev1.Container{LivenessProbe: p}, make(chan struct{}, 1))
	tg.UID = t.Name() + p.String()
	tg.Unhealthy = func(message string) { said <- message }
	tg.Warned = tg.Unhealthy
	m.Add(tg)
	defer m.Remove(tg.UID, tg.Spec.Name)
	count := func() (c Count) {
		for _, one := range m.Counts() {
			if one.UID == tg.UID {
				c = one
			}
		}
		return c
	}
	require.Eventually(t, func() bool { c := count(); return c.Succeeded+c.Failed > 0 }, 10*time.Second, time.Millisecond)
	if count().Failed > 0 {
		return <-said
	}
	select {
	case warning := <-said:
		return warning
	default:
		return ""
	}
}

func BenchmarkHTTPGet(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	j := &job{subject: &subject{Target: Target{Spec: &corev1.Container{}, Host: "127.0.0.1"}}, probe: &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.Parse(port)}},
	}}
	q := j.question()
	for b.Loop() {
		x, done, err := q.ask(j, time.Now()), false, error(nil)
		for !done {
			done, err = x.step(time.Now())
		}
		if x.close(); err != nil {
			b.Fatal(err)
		}
	}
}
