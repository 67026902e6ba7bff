package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/services/gateway/media"
)

// pathHandler answers at a path that names no resource. The context carries the caller's credentials.
type pathHandler func(*Gateway, *response, *http.Request, context.Context)

// paths are what is served besides resources and discovery. Each also answers below its own path.
var paths = map[string]pathHandler{
	"version":     (*Gateway).serveVersion,
	"healthz":     (*Gateway).serveHealth,
	"livez":       (*Gateway).serveHealth,
	"readyz":      (*Gateway).serveHealth,
	"metrics":     (*Gateway).serveMetrics,
	"openapi":     (*Gateway).serveOpenAPI,
	"openid":      (*Gateway).serveIssuer,
	".well-known": (*Gateway).serveIssuer,
	"api":         (*Gateway).serveDiscovery,
	"apis":        (*Gateway).serveDiscovery,
	"":            (*Gateway).serveRoot,
}

const notFound = "404 page not found\n"

// servePath serves paths that name no resource.
func (g *Gateway) servePath(w *response, r *http.Request) {
	g.servePathAs(w, r, paths[firstSegment(r.URL.Path)])
}

func firstSegment(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first
}

// servePathAs calls serve when the API service lets the caller. Where nothing is served, serve is nil: only who may ask
// learns that.
func (g *Gateway) servePathAs(w *response, r *http.Request, serve pathHandler) {
	path := r.URL.Path
	ctx, err := g.forward(r.Context(), w, r)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.RequestTimeout)
	defer cancel()
	_, err = g.system.Authorize(ctx, &systemv1.AuthorizeRequest{Path: path, Verb: verbOf(r.Method)})
	if err != nil && !(probes[firstSegment(path)] && unreachable(err)) {
		g.fail(w, r, err)
		return
	}
	switch {
	case serve == nil:
		g.serveNothing(w, r, ctx)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		g.fail(w, r, errMethod)
	default:
		serve(g, w, r, ctx)
	}
}

// serveNothing says that nothing is served here: below the core API and known groups with a Status, elsewhere in plain words.
func (g *Gateway) serveNothing(w *response, r *http.Request, ctx context.Context) {
	known := strings.HasPrefix(r.URL.Path, "/api/")
	if rest, ok := strings.CutPrefix(r.URL.Path, "/apis/"); ok {
		if now := g.kinds.wait(ctx); now != nil {
			group, _, _ := strings.Cut(rest, "/")
			doc, _ := now.documents.Find("/apis/"+group, "application/json")
			known = doc != nil
		}
	}
	if known {
		g.fail(w, r, errNothing)
		return
	}
	plain(w, http.StatusNotFound, notFound)
}

var errNothing = &apierrors.StatusError{ErrStatus: metav1.Status{
	Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
	Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{},
}}

var errMethod = apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false)

// verbOf is the verb of a path that names no resource: the method's name in lower case.
func verbOf(method string) string { return strings.ToLower(method) }

func (g *Gateway) serveVersion(w *response, r *http.Request, _ context.Context) {
	if r.URL.Path != "/version" && r.URL.Path != "/version/" {
		plain(w, http.StatusNotFound, notFound)
		return
	}
	b := body{contentType: contentTypeHeaders[media.JSON], code: http.StatusOK, data: g.version}
	b.write(w, r)
}

// serveRoot lists the paths that are served.
func (g *Gateway) serveRoot(w *response, r *http.Request, _ context.Context) {
	if r.URL.Path != "/" {
		plain(w, http.StatusNotFound, notFound)
		return
	}
	list := []string{"/.well-known/openid-configuration", "/healthz", "/healthz/ping", "/livez", "/livez/ping", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/readyz/ping", "/version"}
	if now := g.kinds.wait(r.Context()); now != nil {
		list = append(list, now.documents.Paths()...)
	}
	slices.Sort(list)
	data, err := json.MarshalIndent(map[string][]string{"paths": list}, "", "  ")
	if err != nil {
		g.fail(w, r, err)
		return
	}
	b := body{contentType: contentTypeHeaders[media.JSON], code: http.StatusOK, data: data}
	b.write(w, r)
}

func (g *Gateway) serveDiscovery(w *response, r *http.Request, ctx context.Context) {
	now := g.kinds.wait(ctx)
	if now == nil {
		g.fail(w, r, errNotReady)
		return
	}
	doc, acceptable := now.documents.Find(r.URL.Path, r.Header.Get("Accept"))
	switch {
	case doc == nil:
		g.serveNothing(w, r, ctx)
		return
	case !acceptable:
		g.fail(w, r, errNotAcceptable)
		return
	}
	h := w.Header()
	h["Vary"] = varyAccept
	if doc.ETag != "" {
		h["Cache-Control"] = []string{"public"}
		if notModified(w, r, doc.ETag) {
			return
		}
	}
	b := body{contentType: []string{doc.ContentType}, code: http.StatusOK}
	b.setJSON(doc.Body, pretty(r))
	b.write(w, r)
}

// notModified sets the ETag and answers 304 when the client has what it names.
func notModified(w *response, r *http.Request, etag string) bool {
	w.Header()["Etag"] = []string{etag}
	for _, known := range strings.Split(r.Header.Get("If-None-Match"), ",") {
		if known = strings.TrimPrefix(strings.TrimSpace(known), "W/"); known == etag || known == "*" {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}
