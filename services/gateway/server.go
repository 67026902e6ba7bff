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

	"karve.dev/karve/internal/h2"
)

const (
	maxHeaderBytes    = 1 << 20
	readHeaderTimeout = 30 * time.Second
	idleTimeout       = 3 * time.Minute
	// drainTimeout is how long requests may take to finish after the shutdown began.
	drainTimeout = 2 * time.Second
	// flushTimeout lets the answers of finished requests reach the connection.
	flushTimeout = 100 * time.Millisecond
	// writeTimeout cuts a connection whose client takes no byte for so long.
	writeTimeout = time.Minute
)

func (g *Gateway) serveHTTP(ctx context.Context, listeners []net.Listener) error {
	srv := &http.Server{
		Handler:           g,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          zap.NewStdLog(g.log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
		ConnContext:       g.credentials.connContext,
	}
	second := &h2.Server{
		// client-go multiplexes all its watches over one connection.
		MaxStreams: 2000, MaxHeaderBytes: maxHeaderBytes,
		// A body is at most a few megabytes: small windows bound what a client may have on its way.
		ConnWindow: 1 << 20, StreamWindow: 256 << 10,
		IdleTimeout: idleTimeout, PingAfter: 30 * time.Second, PingTimeout: 15 * time.Second, WriteTimeout: writeTimeout,
		ErrorLog: srv.ErrorLog,
	}
	srv.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": func(_ *http.Server, c *tls.Conn, h http.Handler) {
		base := context.Background()
		if b, ok := h.(interface{ BaseContext() context.Context }); ok {
			base = b.BaseContext() // with what ConnContext has put there
		}
		second.Serve(base, c, h)
	}}
	srv.RegisterOnShutdown(second.Shutdown)
	failed := make(chan error, len(listeners))
	for _, lis := range listeners {
		secured := tls.NewListener(corkedListener{lis}, g.tlsConfig())
		go func() { failed <- fmt.Errorf("serve HTTPS on %s: %w", lis.Addr(), srv.Serve(secured)) }()
	}
	ended := 0
	var err error
	select {
	case err = <-failed:
		ended++
	case <-ctx.Done():
	}
	g.shutdown(srv)
	for ; ended < len(listeners); ended++ {
		if late := <-failed; err == nil && !errors.Is(late, http.ErrServerClosed) {
			err = late
		}
	}
	return err
}

// corkedListener hands out connections that gather TLS records.
type corkedListener struct{ net.Listener }

func (l corkedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &h2.Corked{Conn: c, Timeout: writeTimeout}, nil
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
		g.proxy.Close()
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
	// Small records at a connection's start help browsers to render early; here they only cost system calls.
	c.DynamicRecordSizingDisabled = true
	// Certificates are asked for here and verified by the gateway, so that a stale one gets an HTTP 401 that says so
	// instead of a broken handshake.
	c.ClientAuth = tls.RequestClientCert
	return c
}
