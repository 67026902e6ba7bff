package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"karve.dev/karve/internal/identity"
)

// What one side sends ahead of the other's reading: for one stream, and for all of a connection. Left alone, gRPC grows both up
// to 16 MiB, and each reader that stalls would hold that much.
const (
	streamWindow     = 256 << 10
	connectionWindow = 4 << 20
)

// Dial returns a connection to another process over TLS. It connects lazily and reconnects with backoff.
func Dial(addr string, config *tls.Config) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(addr,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}, MinConnectTimeout: 3 * time.Second}),
	)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return conn, nil
}

// UserOf returns the user that a client certificate names: its common name, with its organizations as groups.
func UserOf(cert *x509.Certificate) identity.User {
	// A UID that cannot be read is none: it only tells users of one name apart.
	uid, _ := identity.CertificateUID(cert)
	return identity.User{Name: cert.Subject.CommonName, UID: uid, Groups: cert.Subject.Organization}
}

// ServerStream is a server stream with another context, for interceptors that add to it.
type ServerStream struct {
	grpc.ServerStream
	Ctx context.Context
}

// Context returns Ctx.
func (s *ServerStream) Context() context.Context { return s.Ctx }
