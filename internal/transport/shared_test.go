package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"karve.dev/karve/internal/identity"
)

// TestOnePortForBoth asks a port over gRPC and over HTTPS: both know the client by its certificate.
func TestOnePortForBoth(t *testing.T) {
	ca, err := identity.LoadOrCreate(t.TempDir(), identity.Options{Name: "test"})
	require.NoError(t, err)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := NewServer(nil, nil)
	healthv1.RegisterHealthServer(server, health.NewServer())
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, ok := identity.Peer(r.Context())
		fmt.Fprint(w, r.Proto, " ", ok, " ", peer.Name)
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- server.ServeShared(ctx, lis, ca.ServerTLS(identity.Spec{CommonName: "s", DNSNames: []string{"s"}}), HTTPS{Handler: handler, MaxConnections: 1, Log: zap.NewNop()})
	}()
	config := ca.ClientTLS(identity.User{Name: "jane"})
	config.ServerName = "s"

	conn, err := Dial(lis.Addr().String(), config.Clone())
	require.NoError(t, err)
	defer conn.Close()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	require.NoError(t, err)

	ask := func(config *tls.Config) (string, error) {
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}
		res, err := (&http.Client{Transport: transport}).Get("https://" + lis.Addr().String())
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return string(body), err
	}
	answers := func(config *tls.Config, want string) {
		t.Helper()
		require.Eventually(t, func() bool { // a connection that has ended makes room, a moment later
			body, err := ask(config.Clone())
			return err == nil && body == want
		}, 10*time.Second, 5*time.Millisecond)
	}
	for range 3 {
		answers(config, "HTTP/1.1 true jane")
	}
	stranger := config.Clone()
	stranger.GetClientCertificate = nil
	answers(stranger, "HTTP/1.1 false ")
	var left net.Conn
	require.Eventually(t, func() bool { left = hold(t, lis.Addr().String(), config); return left != nil }, 10*time.Second, 5*time.Millisecond)
	defer left.Close()
	_, err = ask(config.Clone())
	require.Error(t, err, "one connection at a time is allowed here")

	stop()
	require.NoError(t, <-ended)
	_, err = healthv1.NewHealthClient(conn).Check(context.Background(), &healthv1.HealthCheckRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
}

// hold opens a connection that names no protocol, which means HTTP, uses it once and leaves it open; nil when it was closed.
func hold(t *testing.T, addr string, config *tls.Config) net.Conn {
	conn, err := tls.Dial("tcp", addr, config.Clone())
	require.NoError(t, err)
	_, writeErr := conn.Write([]byte("GET / HTTP/1.1\r\nHost: s\r\n\r\n"))
	if _, err = conn.Read(make([]byte, 1)); err != nil || writeErr != nil {
		_ = conn.Close()
		return nil
	}
	return conn
}
