package gateway

import (
	"context"
	"net/http"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
)

// What an issuer's documents are served as. They change with its keys only.
var (
	jwksType     = []string{"application/jwk-set+json"}
	jsonType     = []string{"application/json"}
	issuerMaxAge = []string{"public, max-age=3600"}
)

// serveIssuer answers who verifies service accounts' tokens by OpenID Connect's discovery.
func (g *Gateway) serveIssuer(w *response, r *http.Request, ctx context.Context) {
	var answer func(*systemv1.DiscoverResponse) body
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer = func(d *systemv1.DiscoverResponse) body {
			return body{contentType: jsonType, code: http.StatusOK, data: d.GetConfiguration()}
		}
	case "/openid/v1/jwks":
		answer = func(d *systemv1.DiscoverResponse) body {
			return body{contentType: jwksType, code: http.StatusOK, data: d.GetKeys()}
		}
	default:
		plain(w, http.StatusNotFound, notFound)
		return
	}
	documents, err := systemv1.NewIssuerServiceClient(g.cfg.API).Discover(ctx, &systemv1.DiscoverRequest{})
	if err != nil {
		g.fail(w, r, err)
		return
	}
	w.Header()["Cache-Control"] = issuerMaxAge
	b := answer(documents)
	b.write(w, r)
}
