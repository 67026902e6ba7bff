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
	ctx, err := g.forward(r.Context(), w, r)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	ctx, leave := g.untilDrained(ctx)
	defer leave()
	g.proxy.ServePart(w, r.WithContext(ctx), &proxy.Part{Proxied: to, Verb: verb})
}

var errDrained = apierrors.NewServiceUnavailable("the server is shutting down")

// untilDrained returns a context that ends when the gateway shuts down.
func (g *Gateway) untilDrained(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(g.drained, func() { cancel(errDrained) })
	return ctx, func() { stop(); cancel(nil) }
}

// failProxied answers when a request gets nowhere.
func (g *Gateway) failProxied(rw http.ResponseWriter, r *http.Request, err error) {
	w, ok := rw.(*response)
	if !ok {
		w = &response{ResponseWriter: rw}
	}
	if cause := context.Cause(r.Context()); errors.Is(cause, errDrained) || errors.Is(cause, context.DeadlineExceeded) {
		// It is the gateway that ends the request: the client is there and hears why.
		r = r.WithContext(context.WithoutCancel(r.Context()))
		if err = error(errDrained); !errors.Is(cause, errDrained) {
			err = apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0)
		}
	}
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		err = apierrors.NewServiceUnavailable("error trying to reach service: " + err.Error())
	}
	g.fail(w, r, err)
}
