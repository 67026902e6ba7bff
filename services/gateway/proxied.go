package gateway

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/gateway/proxy"
	"karve.dev/karve/services/gateway/route"
)

// proxyVerbs say what a caller must be allowed to do with a proxy subresource. A method that stands for nothing is only for
// those who are allowed everything.
var proxyVerbs = map[string]string{
	http.MethodGet: "get", http.MethodHead: "get", http.MethodPost: "create", http.MethodPut: "update",
	http.MethodPatch: "patch", http.MethodDelete: "delete", http.MethodOptions: "",
}

// serveProxied passes a request on to what a pod, service or node serves.
func (g *Gateway) serveProxied(w *response, r *http.Request, to route.Proxied) {
	verb, ok := proxyVerbs[r.Method]
	if !ok {
		g.fail(w, r, errMethod)
		return
	}
	ctx, err := g.credentials.forward(r.Context(), r)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.drained, cancel)()
	g.proxy.ServePart(w, r.WithContext(ctx), &proxy.Part{Proxied: to, Verb: verb})
}

// failProxied answers when a request gets nowhere.
func (g *Gateway) failProxied(rw http.ResponseWriter, r *http.Request, err error) {
	w, ok := rw.(*response)
	if !ok {
		w = &response{ResponseWriter: rw}
	}
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		err = apierrors.NewServiceUnavailable("error trying to reach service: " + err.Error())
	}
	g.fail(w, r, err)
}
