package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

const (
	maxHeaderBytes    = 1 << 20
	readHeaderTimeout = 30 * time.Second
	idleTimeout       = 3 * time.Minute
	// writeTimeout cuts a connection whose client takes no byte for so long.
	writeTimeout = time.Minute
	// drainTimeout is how long requests may take to finish after the shutdown began.
	drainTimeout = 2 * time.Second
	// flushTimeout lets the answers of finished requests reach the connection.
	flushTimeout = 100 * time.Millisecond
)

func (g *Gateway) serveHTTP(ctx context.Context, lis net.Listener) error {
	srv := &http.Server{
		Handler:           g,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          zap.NewStdLog(g.log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
		ConnContext:       g.credentials.connContext,
		HTTP2: &http.HTTP2Config{
			// client-go multiplexes all its watches over one connection.
			MaxConcurrentStreams: 2000,
			// A body is at most a few megabytes: small windows bound what a client may have on its way.
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     256 << 10,
			SendPingTimeout:               30 * time.Second,
			WriteByteTimeout:              writeTimeout,
		},
	}
	tlsListener := tls.NewListener(timedListener{lis}, g.tlsConfig())
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(tlsListener) }()
	select {
	case err := <-failed:
		g.drain()
		return fmt.Errorf("serve HTTPS on %s: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	g.shutdown(srv)
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTPS on %s: %w", lis.Addr(), err)
	}
	return nil
}

// shutdown ends watches and streams, waits for the other requests and closes what is left. Idle HTTP/2 connections are
// not waited for, so that a restart is quick.
func (g *Gateway) shutdown(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	g.drain()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-g.running.close()
		g.streams.Wait()
		time.AfterFunc(flushTimeout, cancel)
	}()
	if err := srv.Shutdown(ctx); err != nil {
		_ = srv.Close()
	}
	<-stopped
}

func (g *Gateway) tlsConfig() *tls.Config {
	c := g.cfg.TLS.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.NextProtos = []string{"h2", "http/1.1"}
	// Certificates are asked for here and verified by the gateway, so that a stale one gets an HTTP 401 that says so
	// instead of a broken handshake.
	c.ClientAuth = tls.RequestClientCert
	return c
}

// timedListener hands out connections that give up on clients which stop reading.
type timedListener struct{ net.Listener }

func (l timedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return timedConn{c}, nil
}

type timedConn struct{ net.Conn }

func (c timedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
