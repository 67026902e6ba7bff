package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"karve.dev/karve/internal/h2"
	"karve.dev/karve/internal/identity"
)

const (
	handshakeTimeout = 10 * time.Second
	// drainTimeout is how long calls may take to finish once the server is to end.
	drainTimeout = 2 * time.Second
	// writeTimeout cuts a connection whose client takes no byte for so long.
	writeTimeout = time.Minute
	maxHeader    = 64 << 10
	// A failing Accept is tried again after a while.
	acceptRetry = 50 * time.Millisecond
)

// Serve accepts TLS connections on lis until ctx ends, then drains for a moment and closes what is left. A client
// certificate that config verified names the peer.
func (s *Server) Serve(ctx context.Context, lis net.Listener, config *tls.Config) error {
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	p := s.newPort(config)
	if err := p.serve(ctx, lis); err != nil {
		return fmt.Errorf("serve gRPC on %s: %w", lis.Addr(), err)
	}
	return nil
}

// port is one listener's connections.
type port struct {
	config *tls.Config
	h2     *h2.Server
	calls  http.Handler
	web    *webListener // for who does not speak HTTP/2; nil: nobody

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
	wg    sync.WaitGroup
}

func (s *Server) newPort(config *tls.Config) *port {
	// Small records at a connection's start help browsers to render early; here they only cost system calls.
	config.DynamicRecordSizingDisabled = true
	return &port{config: config, calls: http.HandlerFunc(s.answer), conns: map[net.Conn]struct{}{}, h2: &h2.Server{
		MaxStreams: 20_000, MaxHeaderBytes: maxHeader,
		// What is larger than a window comes as fast as it is read.
		ConnWindow: 4 << 20, StreamWindow: 1 << 20,
		IdleTimeout: time.Hour, PingAfter: 30 * time.Second, PingTimeout: 20 * time.Second, WriteTimeout: writeTimeout,
	}}
}

// serve returns when ctx has ended, or lis has failed, and every connection after that.
func (p *port) serve(ctx context.Context, lis net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = lis.Close() })()
	var err error
	for err == nil {
		var conn net.Conn
		if conn, err = lis.Accept(); err == nil {
			p.wg.Go(func() { p.speak(ctx, conn) })
			continue
		}
		if temporary(err) { // too many files are open, say
			select {
			case <-time.After(acceptRetry):
				err = nil
			case <-ctx.Done():
			}
		}
	}
	_ = lis.Close()
	p.h2.Shutdown()
	drained := time.AfterFunc(drainTimeout, p.close)
	p.wg.Wait()
	drained.Stop()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func temporary(err error) bool {
	var e interface{ Temporary() bool }
	return errors.As(err, &e) && e.Temporary()
}

// speak agrees upon TLS and a protocol, and serves the connection.
func (p *port) speak(ctx context.Context, raw net.Conn) {
	if !p.enter(raw) {
		_ = raw.Close()
		return
	}
	defer p.leave(raw)
	conn := tls.Server(&h2.Corked{Conn: raw, Timeout: writeTimeout}, p.config)
	short, cancel := context.WithTimeout(ctx, handshakeTimeout)
	err := conn.HandshakeContext(short)
	cancel()
	switch {
	case err != nil:
		_ = conn.Close()
	case conn.ConnectionState().NegotiatedProtocol == "h2":
		p.h2.Serve(callers(conn), conn, p.calls)
	case p.web != nil:
		p.web.give(&webConn{Conn: conn})
	default:
		_ = conn.Close()
	}
}

func (p *port) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.conns[c] = struct{}{}
	}
	return !p.ended
}

func (p *port) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// close ends the connections that are left.
func (p *port) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// callers is the context of a connection's calls: it tells who calls.
func callers(conn *tls.Conn) context.Context {
	state := conn.ConnectionState()
	ctx := peer.NewContext(context.Background(), &peer.Peer{
		Addr: conn.RemoteAddr(), LocalAddr: conn.LocalAddr(),
		AuthInfo: credentials.TLSInfo{State: state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}},
	})
	if len(state.VerifiedChains) == 0 {
		return ctx
	}
	return identity.WithPeer(ctx, UserOf(state.VerifiedChains[0][0]))
}
