package gateway

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/media"
)

// serveOpenAPI serves /openapi/v2, the index at /openapi/v3 and the documents below it.
func (g *Gateway) serveOpenAPI(w *response, r *http.Request, ctx context.Context) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	req := &apiv1.GetOpenAPIRequest{Major: 3}
	switch {
	case path == "/openapi/v2":
		req.Major = 2
	case path == "/openapi/v3":
	case strings.HasPrefix(path, "/openapi/v3/api/"):
		req.GroupVersion = path[len("/openapi/v3/api/"):]
	case strings.HasPrefix(path, "/openapi/v3/apis/"):
		req.GroupVersion = path[len("/openapi/v3/apis/"):]
	default:
		plain(w, http.StatusNotFound, notFound)
		return
	}
	accept := r.Header.Get("Accept")
	protobuf := req.Major == 2 && wantsOpenAPIv2Protobuf(accept)
	if !protobuf && !acceptsJSON(accept) {
		g.fail(w, r, errNotAcceptable)
		return
	}
	res, err := g.discovery.GetOpenAPI(ctx, req)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	etag := strings.Trim(res.GetEtag(), `"`)
	h := w.Header()
	h["Vary"] = varyAccept
	if hash := r.URL.Query().Get("hash"); hash != "" && req.GroupVersion != "" {
		if hash != etag {
			http.Redirect(w, r, path+"?hash="+url.QueryEscape(etag), http.StatusMovedPermanently)
			return
		}
		h["Cache-Control"] = []string{"public, immutable"}
		h["Expires"] = []string{time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat)}
	}
	if protobuf {
		etag += "-protobuf"
	}
	if etag != "" && notModified(w, r, `"`+etag+`"`) {
		return
	}
	b := body{contentType: contentTypeHeaders[media.JSON], code: http.StatusOK, data: res.GetDocument()}
	if protobuf {
		if b.data, err = openAPIv2(b.data); err != nil {
			g.fail(w, r, err)
			return
		}
		b.contentType = []string{openAPIv2ProtobufDots}
	}
	b.write(w, r)
}

func acceptsJSON(header string) bool {
	if header == "" {
		return true
	}
	var buf [8]media.Clause
	for _, c := range media.Clauses(header, buf[:]) {
		if c.Type == media.ContentTypeJSON || c.Type == "*/*" || c.Type == "application/*" {
			return true
		}
	}
	return false
}
