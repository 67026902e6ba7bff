package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
)

// probes are the first segments of the health paths: they answer even while the API service cannot be reached.
var probes = map[string]bool{"healthz": true, "livez": true, "readyz": true}

// unreachable reports whether an error came from the way to the API service and not from it.
func unreachable(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// serveHealth answers /healthz, /livez and /readyz in kube-apiserver's text form, and a single check below each.
func (g *Gateway) serveHealth(w *response, r *http.Request, ctx context.Context) {
	probe, one, single := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	checks := g.checks(ctx, probe)
	q := r.URL.Query()
	if single {
		i := slices.IndexFunc(checks, func(c *systemv1.CheckResponse_Check) bool { return c.GetName() == one })
		if i < 0 {
			plain(w, http.StatusNotFound, notFound)
			return
		}
		checks = checks[i : i+1]
	}
	text, healthy := report(probe, checks, q["exclude"])
	switch {
	case !healthy:
		plain(w, http.StatusInternalServerError, text)
	case q.Has("verbose") && !single:
		plain(w, http.StatusOK, text)
	default:
		plain(w, http.StatusOK, "ok")
	}
}

// checks asks the API service and adds the gateway's own.
func (g *Gateway) checks(ctx context.Context, probe string) []*systemv1.CheckResponse_Check {
	checks := []*systemv1.CheckResponse_Check{{Name: "ping"}}
	res, err := g.system.Check(ctx, &systemv1.CheckRequest{Probe: probe})
	if err != nil {
		checks = append(checks, &systemv1.CheckResponse_Check{Name: "api", Error: status.Convert(err).Message()})
	}
	for _, c := range res.GetChecks() {
		if c.GetName() != "ping" {
			checks = append(checks, c)
		}
	}
	if probe == "readyz" {
		kinds := &systemv1.CheckResponse_Check{Name: "gateway-kinds"}
		if g.kinds.now.Load() == nil {
			kinds.Error = "the served kinds are not known yet"
		}
		shutdown := &systemv1.CheckResponse_Check{Name: "shutdown"}
		if g.drained.Err() != nil {
			shutdown.Error = "the gateway is shutting down"
		}
		checks = append(checks, kinds, shutdown)
	}
	return checks
}

// report writes one line a check and a verdict. Reasons are withheld, as in Kubernetes: anybody may ask.
func report(probe string, checks []*systemv1.CheckResponse_Check, exclude []string) (text string, healthy bool) {
	var b strings.Builder
	healthy = true
	excluded := map[string]bool{}
	for _, name := range exclude {
		excluded[name] = true
	}
	for _, c := range checks {
		name := c.GetName()
		switch {
		case excluded[name]:
			fmt.Fprintf(&b, "[+]%s excluded: ok\n", name)
			delete(excluded, name)
		case c.GetError() == "":
			fmt.Fprintf(&b, "[+]%s ok\n", name)
		default:
			fmt.Fprintf(&b, "[-]%s failed: reason withheld\n", name)
			healthy = false
		}
	}
	for _, name := range exclude {
		if excluded[name] {
			fmt.Fprintf(&b, "warn: some health checks cannot be excluded: no matches for %q\n", name)
		}
	}
	if !healthy {
		fmt.Fprintf(&b, "%s check failed\n", probe)
		return b.String(), false
	}
	fmt.Fprintf(&b, "%s check passed\n", probe)
	return b.String(), true
}
