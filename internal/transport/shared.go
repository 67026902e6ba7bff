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
)

// ServeShared is Serve with HTTPS on the same port. The two are told apart while TLS is agreed upon: whoever can speak
// HTTP/1.1 is given that, and gRPC can only speak HTTP/2.
func (s *Server) ServeShared(ctx context.Context, lis net.Listener, config *tls.Config, h HTTPS) error {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1", "h2"} // the server's order decides
	errorLog := zap.NewStdLog(h.Log)
	p := s.newPort(config)
	p.h2.ErrorLog = errorLog
	p.web = &webListener{addr: lis.Addr(), conns: make(chan net.Conn), closed: make(chan struct{}), left: int64(h.MaxConnections)}
	server := &http.Server{
		Handler: h.Handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: withWebPeer, ErrorLog: errorLog,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(p.web) }()
	err := p.serve(ctx, lis)
	short, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if server.Shutdown(short) != nil {
		_ = server.Close()
	}
	if webErr := <-served; !errors.Is(webErr, http.ErrServerClosed) {
		err = errors.Join(err, webErr)
	}
	if err != nil {
		return fmt.Errorf("serve gRPC and HTTPS on %s: %w", lis.Addr(), err)
	}
	return nil
}

// webConn is a connection of the HTTP server's.
type webConn struct {
	*tls.Conn
	left func()
	once sync.Once
}

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
