package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"golang.org/x/net/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/apierr"
)

// PortForward carries TCP connections to a pod's ports: over SPDY, over SPDY inside a WebSocket, or over a WebSocket
// with two channels a port.
func (s *Server) PortForward(r *Request) error {
	if err := r.upgradable(); err != nil {
		return err
	}
	s.bind(r, 0)
	f := &forwarder{server: s, request: r}
	switch {
	case wsstream.IsWebSocketRequestWithTunnelingProtocol(r.HTTP):
		f.serveTunnel()
	case wsstream.IsWebSocketRequest(r.HTTP):
		opts, err := portforward.NewV4Options(r.HTTP)
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		f.serve(r.Writer, r.HTTP, opts)
	default:
		f.serve(r.Writer, r.HTTP, &portforward.V4Options{})
	}
	return nil
}

// forwarder opens one stream to the API service for every connection that a client makes.
type forwarder struct {
	server  *Server
	request *Request
}

var _ portforward.PortForwarder = (*forwarder)(nil)

func (f *forwarder) serve(w http.ResponseWriter, r *http.Request, opts *portforward.V4Options) {
	portforward.ServePortForward(w, r, f, f.request.Pod, "", opts, idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

// PortForward implements portforward.PortForwarder: it pipes one connection until the pod's side has ended. The request's
// context is used, for it carries the caller's credentials and ends with the client's connection.
func (f *forwarder) PortForward(_ context.Context, _, _ string, port int32, conn io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancel(f.request.Context)
	defer cancel()
	stream, err := f.server.api.PortForward(ctx)
	if err != nil {
		return plainly(err)
	}
	start := &agentv1.PortForwardStart{Pod: f.request.pod(), Port: port}
	// A failed send means that the stream has ended; Recv says why.
	if err := stream.Send(&agentv1.PortForwardRequest{Message: &agentv1.PortForwardRequest_Start{Start: start}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.server.pumps.Go(func() {
		err := pump(conn, func(m *agentv1.PortForwardRequest) error { return stream.Send(m) })
		if err != nil {
			cancel()
		}
	})
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return plainly(err)
		}
		if _, err := conn.Write(res.GetData()); err != nil {
			return err
		}
	}
}

// plainly is what went wrong without the wrapping of gRPC: people read it.
func plainly(err error) error { return apierr.FromGRPC(err) }

// pump sends what comes from a client's connection until it has no more.
func pump(conn io.Reader, send func(*agentv1.PortForwardRequest) error) error {
	buf := make([]byte, chunk)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			data := append([]byte(nil), buf[:n]...)
			if err := send(&agentv1.PortForwardRequest{Message: &agentv1.PortForwardRequest_Data{Data: data}}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return send(&agentv1.PortForwardRequest{Message: &agentv1.PortForwardRequest_CloseWrite{CloseWrite: true}})
		}
		if err != nil {
			return err
		}
	}
}

// serveTunnel speaks SPDY inside a WebSocket: the messages, one after the other, are the bytes of a SPDY connection.
func (f *forwarder) serveTunnel() {
	choose := func(config *websocket.Config, _ *http.Request) error {
		if !slices.Contains(config.Protocol, portforward.WebsocketsSPDYTunnelingPortForwardV1) {
			return fmt.Errorf("subprotocols %v: only %s is supported", config.Protocol, portforward.WebsocketsSPDYTunnelingPortForwardV1)
		}
		config.Protocol = []string{portforward.WebsocketsSPDYTunnelingPortForwardV1}
		return nil
	}
	handle := func(ws *websocket.Conn) {
		ws.PayloadType = websocket.BinaryFrame
		inner := f.request.HTTP.Clone(f.request.Context)
		inner.Header.Set("Connection", "Upgrade")
		inner.Header.Set("Upgrade", "SPDY/3.1")
		inner.Header.Set("X-Stream-Protocol-Version", portforward.ProtocolV1Name)
		f.serve(&tunnelWriter{conn: ws, header: http.Header{}}, inner, &portforward.V4Options{})
	}
	websocket.Server{Handshake: choose, Handler: handle}.ServeHTTP(f.request.Writer, f.request.HTTP)
}

// tunnelWriter is the answer to the upgrade that never happens: inside the tunnel both sides speak SPDY at once.
type tunnelWriter struct {
	conn   net.Conn
	header http.Header
}

func (w *tunnelWriter) Header() http.Header         { return w.header }
func (w *tunnelWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *tunnelWriter) WriteHeader(int)             {}

// Hijack implements http.Hijacker.
func (w *tunnelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}
