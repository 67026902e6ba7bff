// Package proxy passes whole HTTP requests on: to what pods, services and nodes serve, and to the servers of aggregated
// APIs. Connections go through the API service's tunnels.
package proxy

import (
	"context"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"

	"go.uber.org/zap"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/route"
)

// Proxy passes requests on. It is safe for concurrent use.
type Proxy struct {
	api     apiv1.TunnelServiceClient
	parts   *httputil.ReverseProxy
	apis    *httputil.ReverseProxy
	servers *http.Transport
}

// New returns a proxy that answers with fail when a request gets nowhere.
func New(api apiv1.TunnelServiceClient, fail func(http.ResponseWriter, *http.Request, error), logger *zap.Logger) *Proxy {
	p := &Proxy{api: api}
	common := httputil.ReverseProxy{FlushInterval: -1, BufferPool: &buffers, ErrorHandler: fail, ErrorLog: quiet(logger), ModifyResponse: uncached}
	p.apis = p.newAPIs(common)
	p.parts = &common
	p.parts.Rewrite, p.parts.ModifyResponse = rewritePart, answerOfPart
	// A connection is allowed for one request: none is kept for another.
	p.parts.Transport = &http.Transport{DialContext: p.dialPart, DisableKeepAlives: true, DisableCompression: true}
	return p
}

// Close closes the connections that are kept. No request runs any more.
func (p *Proxy) Close() { p.servers.CloseIdleConnections() }

// uncached keeps answers from being kept by somebody on the way, unless they say otherwise.
func uncached(res *http.Response) error {
	if res.Header.Get("Cache-Control") == "" {
		res.Header["Cache-Control"] = []string{"no-cache, private"}
	}
	return nil
}

// quiet logs what a reverse proxy has to say about connections that end early: nothing is wrong on our side then.
func quiet(logger *zap.Logger) *log.Logger {
	out, err := zap.NewStdLogAt(logger, zap.DebugLevel)
	if err != nil {
		return zap.NewStdLog(zap.NewNop())
	}
	return out
}

// Part is a request for a proxy subresource.
type Part struct {
	Proxied route.Proxied
	// Verb is what the caller must be allowed.
	Verb string
}

type partKey struct{}

// ServePart passes a request on to a pod, service or node. Its context carries the caller's credentials as outgoing
// metadata.
func (p *Proxy) ServePart(w http.ResponseWriter, r *http.Request, part *Part) {
	if part.Proxied.Rest == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		// Relative links of what is shown need the slash.
		to := url.URL{Path: part.Proxied.Prefix + "/", RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	w.Header().Del("Cache-Control")
	p.parts.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), partKey{}, part)))
}

var starts = map[string]apiv1.TunnelStart_Target{
	"pods": apiv1.TunnelStart_TARGET_POD, "services": apiv1.TunnelStart_TARGET_SERVICE, "nodes": apiv1.TunnelStart_TARGET_NODE,
}

func (p *Proxy) dialPart(ctx context.Context, _, _ string) (net.Conn, error) {
	part := ctx.Value(partKey{}).(*Part)
	return open(ctx, p.api, &apiv1.TunnelStart{
		Target: starts[part.Proxied.Resource.Name], Namespace: part.Proxied.Namespace, Name: part.Proxied.Name, Verb: part.Verb,
	})
}

// rewritePart makes the request that goes on: without the caller's credentials, and with where it came from.
func rewritePart(r *httputil.ProxyRequest) {
	part := r.In.Context().Value(partKey{}).(*Part)
	strip(r.Out.Header)
	r.Out.URL.Scheme, r.Out.URL.Host = "http", "part"
	r.Out.URL.Path, r.Out.URL.RawPath = part.Proxied.Rest, part.Proxied.Escaped(r.In.URL.EscapedPath())
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	r.Out.Host = r.In.Host
	if before := r.In.Header["X-Forwarded-For"]; before != nil {
		r.Out.Header["X-Forwarded-For"] = before
	}
	r.SetXForwarded()
	r.Out.Header.Set("X-Forwarded-Uri", r.In.URL.EscapedPath())
}

// answerOfPart makes redirects lead back here.
func answerOfPart(res *http.Response) error {
	part := res.Request.Context().Value(partKey{}).(*Part)
	if location := res.Header.Get("Location"); location != "" {
		res.Header.Set("Location", relocate(location, part.Proxied.Prefix, res.Request.Host))
	}
	return uncached(res)
}

// relocate rewrites where a redirect leads: a path of the one who answers is a path below prefix for the client. What leads
// to another host, or is relative, stays.
func relocate(location, prefix, host string) string {
	to, err := url.Parse(location)
	if err != nil || to.Opaque != "" || to.Host != "" && to.Host != host || !strings.HasPrefix(to.Path, "/") {
		return location
	}
	to.Scheme, to.Host, to.User = "", "", nil
	if to.Path == prefix || strings.HasPrefix(to.Path, prefix+"/") {
		return to.String()
	}
	slash := strings.HasSuffix(to.Path, "/")
	to.Path, to.RawPath = path.Join(prefix, to.Path), ""
	if slash {
		to.Path += "/"
	}
	return to.String()
}

// strip removes what is between the client and the API only.
func strip(h http.Header) {
	h.Del("Authorization")
	for name := range h {
		if strings.HasPrefix(name, "Impersonate-") || strings.HasPrefix(name, "X-Remote-") {
			delete(h, name)
		}
	}
	const key, token = "Sec-Websocket-Protocol", "base64url.bearer.authorization.k8s.io."
	values, ok := h[key]
	if !ok {
		return
	}
	var kept []string
	for _, name := range strings.Split(strings.Join(values, ","), ",") {
		if name = strings.TrimSpace(name); name != "" && !strings.HasPrefix(name, token) {
			kept = append(kept, name)
		}
	}
	h.Del(key)
	if len(kept) > 0 {
		h.Set(key, strings.Join(kept, ", "))
	}
}

// buffers are what bodies are copied through.
var buffers bufferPool

type bufferPool struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *bufferPool) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (b *bufferPool) Put(buf []byte) { b.pool.Put(&buf) }
