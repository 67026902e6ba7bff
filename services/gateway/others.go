package gateway

import (
	"context"
	"net/http"

	"k8s.io/streaming/pkg/httpstream"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/proxy"
	"karve.dev/karve/services/gateway/route"
)

// serveOther passes a request on to another server, which is told who calls. Whether the caller may do it the API service
// is asked first; the server may have an opinion of its own.
func (g *Gateway) serveOther(w *response, r *http.Request, to *apiv1.AggregatedVersion) {
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
	asked := route.Describe(r.Method, r.URL.Path, q)
	user, err := g.tunnels.Admit(ctx, &apiv1.AdmitRequest{
		Verb: asked.Verb, Group: asked.Group, Version: asked.Version, Resource: asked.Resource, Subresource: asked.Subresource,
		Namespace: asked.Namespace, Name: asked.Name, Path: asked.Path,
	})
	if err != nil {
		g.fail(w, r, err)
		return
	}
	if !to.GetAvailable() {
		plain(w, http.StatusServiceUnavailable, "service unavailable\n")
		return
	}
	ctx, leave, ok := g.admitOther(ctx, w, r, asked.LongRunning || httpstream.IsUpgradeRequest(r))
	if !ok {
		return
	}
	defer leave()
	g.proxy.ServeAPI(w, r.WithContext(ctx), &proxy.API{Service: to.GetApiService(), User: user})
}

// admitOther makes a request one of those that run: streams until the gateway shuts down, others in their turn and for a
// bounded time.
func (g *Gateway) admitOther(ctx context.Context, w *response, r *http.Request, long bool) (context.Context, func(), bool) {
	if long {
		ctx, end := g.untilDrained(ctx)
		return ctx, end, true
	}
	limit := g.reads
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		limit = g.writes
	}
	leave, err := limit.Enter(ctx, clientOf(ctx, r))
	if err != nil {
		g.tooMany(w, r)
		return nil, nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.RequestTimeout)
	return ctx, func() { cancel(); leave() }, true
}
