package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"

	"karve.dev/karve/internal/identity"
)

// HTTPS is served on the port of a Server's gRPC, to clients that do not speak gRPC.
type HTTPS struct {
	Handler http.Handler
	// MaxConnections bounds those that are open at a time; more are closed at once.
	MaxConnections int
	Log            *zap.Logger
}

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// ServeShared is Serve with HTTPS on the same port. The two are told apart while TLS is agreed upon: whoever can speak
// HTTP/1.1 is given that, and gRPC, which can only speak HTTP/2, gets the gRPC server itself, not one behind net/http.
func (s *Server) ServeShared(ctx context.Context, lis net.Listener, config *tls.Config, h HTTPS) error {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1", "h2"} // the server's order decides
	web := &webListener{addr: lis.Addr(), conns: make(chan net.Conn), closed: make(chan struct{}), left: int64(h.MaxConnections)}
	server := &http.Server{
		Handler: h.Handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: withWebPeer, ErrorLog: zap.NewStdLog(h.Log),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(web) }()
	err := s.serve(ctx, &splitListener{lis}, &splitCredentials{config: config, web: web})
	short, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if server.Shutdown(short) != nil {
		_ = server.Close()
	}
	if webErr := <-served; !errors.Is(webErr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve HTTPS on %s: %w", lis.Addr(), webErr))
	}
	return err
}

// splitListener wraps connections so that they can change hands.
type splitListener struct{ net.Listener }

// Accept implements net.Listener.
func (l *splitListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &splitConn{Conn: conn}, nil
}

// splitConn is a connection as the gRPC server sees it. Once it is the HTTP server's, deadlines that the gRPC server
// still sets do not count.
type splitConn struct {
	net.Conn
	given atomic.Bool
}

// SetDeadline implements net.Conn.
func (c *splitConn) SetDeadline(t time.Time) error {
	if c.given.Load() {
		return nil
	}
	return c.Conn.SetDeadline(t)
}

// splitCredentials agree upon TLS and hand over to the HTTP server what is not gRPC.
type splitCredentials struct {
	config *tls.Config
	web    *webListener
}

var _ credentials.TransportCredentials = (*splitCredentials)(nil)

// ServerHandshake implements credentials.TransportCredentials. The gRPC server calls it in a goroutine of the
// connection's own, with a deadline set.
func (c *splitCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := tls.Server(raw, c.config)
	if err := conn.Handshake(); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol == "h2" {
		info := credentials.TLSInfo{State: state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
		return conn, info, nil
	}
	split := raw.(*splitConn)
	_ = split.SetDeadline(time.Time{})
	split.given.Store(true)
	// From here on deadlines are the HTTP server's, on the TLS connection above the bare one.
	c.web.give(&webConn{Conn: conn, bare: split.Conn})
	return nil, nil, credentials.ErrConnDispatched
}

// ClientHandshake implements credentials.TransportCredentials; nobody dials with these.
func (c *splitCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Info implements credentials.TransportCredentials.
func (c *splitCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (c *splitCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (c *splitCredentials) OverrideServerName(string) error { return nil }

// webConn is a connection of the HTTP server's. Its deadlines reach the bare connection.
type webConn struct {
	*tls.Conn
	bare net.Conn
	left func()
	once sync.Once
}

// SetDeadline implements net.Conn.
func (c *webConn) SetDeadline(t time.Time) error { return c.bare.SetDeadline(t) }

// Close implements net.Conn.
func (c *webConn) Close() error {
	defer c.once.Do(c.left)
	return c.Conn.Close()
}

// webListener hands connections to the HTTP server.
type webListener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	left   int64
}

func (l *webListener) give(c *webConn) {
	c.left = func() { atomic.AddInt64(&l.left, 1) }
	if atomic.AddInt64(&l.left, -1) < 0 {
		_ = c.Close()
		return
	}
	select {
	case l.conns <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (l *webListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *webListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *webListener) Addr() net.Addr { return l.addr }

// withWebPeer names the client of a connection by its verified certificate, as Serve does.
func withWebPeer(ctx context.Context, conn net.Conn) context.Context {
	c, ok := conn.(*webConn)
	if !ok {
		return ctx
	}
	if chains := c.ConnectionState().VerifiedChains; len(chains) > 0 {
		return identity.WithPeer(ctx, UserOf(chains[0][0]))
	}
	return ctx
}
