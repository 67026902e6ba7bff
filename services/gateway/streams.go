package gateway

import (
	"bufio"
	"context"
	"net"
	"net/http"

	"karve.dev/karve/services/gateway/route"
	"karve.dev/karve/services/gateway/stream"
)

// podStreams are the subresources of pods that are served by streams of bytes.
var podStreams = map[string]func(*stream.Server, *stream.Request) error{
	"log":         (*stream.Server).Logs,
	"exec":        (*stream.Server).Exec,
	"attach":      (*stream.Server).Attach,
	"portforward": (*stream.Server).PortForward,
}

// serveStream hands a request to the stream server. An error comes back only while nothing has been answered.
func (g *Gateway) serveStream(w *response, r *http.Request, t *route.Target, serve func(*stream.Server, *stream.Request) error) {
	q, err := query(r)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	ctx, err := g.forward(r.Context(), w, r)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.drained, cancel)()
	req := &stream.Request{Context: ctx, Writer: w, HTTP: r, Query: q, Namespace: t.Namespace, Pod: t.Name, Stopping: g.drained}
	if err := serve(g.streams, req); err != nil {
		g.fail(w, r, err)
	}
}

// Hijack implements http.Hijacker for the streams that leave HTTP.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h, ok := w.ResponseWriter.(http.Hijacker)
	if !ok {
		return nil, nil, http.ErrNotSupported
	}
	w.code = http.StatusSwitchingProtocols
	return h.Hijack()
}
