package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
)

const (
	// idleServers bounds the connections that are kept to each server of an aggregated API, and idleTime for how long.
	idleServers = 32
	idleTime    = 90 * time.Second
)

// API is a request for an aggregated API.
type API struct {
	// Service is the name of the APIService.
	Service string
	// User is who the server is told that the request is from.
	User *apiv1.AdmitResponse
}

type apiKey struct{}

// ServeAPI passes a request on to the server of an aggregated API.
func (p *Proxy) ServeAPI(w http.ResponseWriter, r *http.Request, to *API) {
	w.Header().Del("Cache-Control")
	p.apis.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), apiKey{}, to)))
}

// newAPIs returns what passes requests on to other servers. Who calls is told in each request, so connections are kept.
func (p *Proxy) newAPIs(common httputil.ReverseProxy) *httputil.ReverseProxy {
	p.servers = &http.Transport{
		DialContext: p.dialAPI, DisableCompression: true, MaxIdleConnsPerHost: idleServers, IdleConnTimeout: idleTime,
	}
	common.Transport, common.Rewrite = p.servers, rewriteAPI
	return &common
}

// dialAPI connects to the server of the APIService that the address names, on the gateway's own behalf.
func (p *Proxy) dialAPI(ctx context.Context, _, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ctx = metadata.NewOutgoingContext(ctx, metadata.Pairs("x-remote-user", identity.UserGateway))
	return open(ctx, p.api, &apiv1.TunnelStart{Target: apiv1.TunnelStart_TARGET_API_SERVICE, Name: name})
}

func rewriteAPI(r *httputil.ProxyRequest) {
	to := r.In.Context().Value(apiKey{}).(*API)
	strip(r.Out.Header)
	r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", to.Service, to.Service
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	if before := r.In.Header["X-Forwarded-For"]; before != nil {
		r.Out.Header["X-Forwarded-For"] = before
	}
	r.SetXForwarded()
	h := r.Out.Header
	h.Set("X-Remote-User", to.User.GetUser())
	if uid := to.User.GetUid(); uid != "" {
		h.Set("X-Remote-Uid", uid)
	}
	for _, group := range to.User.GetGroups() {
		h.Add("X-Remote-Group", group)
	}
	for key, values := range to.User.GetExtra() {
		h[http.CanonicalHeaderKey("X-Remote-Extra-"+escapeKey(key))] = values.GetValues()
	}
}

// escapeKey writes a key as part of a header's name, in which not every character may stand.
func escapeKey(key string) string {
	const plain = "!#$&'*+-.^_`|~"
	var out strings.Builder
	for i := range len(key) {
		c := key[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}
