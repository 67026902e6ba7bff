package gateway

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/gateway/route"
)

// Header values that every answer shares; net/http does not change them.
var (
	closing   = []string{"close"}
	noCache   = []string{"no-cache, private"}
	plainText = []string{"text/plain; charset=utf-8"}
	nosniff   = []string{"nosniff"}
)

// response remembers what became of an answer.
type response struct {
	http.ResponseWriter
	code int
}

func (w *response) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *response) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (w *response) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw}
	start := time.Now()
	h := rw.Header()
	h["Audit-Id"] = []string{auditID(r)}
	h["Cache-Control"] = noCache
	if !g.running.enter() {
		h["Connection"] = closing
		g.fail(w, r, apierrors.NewServiceUnavailable("the server is shutting down"))
		return
	}
	defer g.running.leave()
	var target route.Target
	defer func() {
		if p := recover(); p != nil {
			g.panicked(w, r, p)
		}
		g.metrics.observe(&target, r.Method, w.code, time.Since(start))
	}()
	g.dispatch(w, r, &target)
}

// dispatch serves resources by the table of kinds and everything else by its path.
func (g *Gateway) dispatch(w *response, r *http.Request, target *route.Target) {
	path := r.URL.Path
	if !strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/apis/") {
		g.servePath(w, r)
		return
	}
	now := g.kinds.wait(r.Context())
	if now == nil {
		g.fail(w, r, errNotReady)
		return
	}
	if to := now.others[route.VersionOf(path)]; to != nil {
		g.serveOther(w, r, to)
		return
	}
	if to, ok := now.table.Proxy(r.Method, path); ok {
		*target = to.Target
		g.serveProxied(w, r, to)
		return
	}
	var outcome route.Outcome
	*target, outcome = now.table.Parse(r.Method, path, asksForWatch(r.URL.RawQuery))
	switch outcome {
	case route.Matched:
		g.serveResource(w, r, target)
	case route.MethodNotAllowed:
		g.fail(w, r, errMethod)
	case route.NotResource:
		g.servePath(w, r)
	default:
		g.servePathAs(w, r, nil)
	}
}

var errNotReady = &apierrors.StatusError{ErrStatus: apierrors.NewTooManyRequests("the server is starting and does not know yet what it serves", 1).ErrStatus}

func (g *Gateway) panicked(w *response, r *http.Request, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	g.log.Error("a request panicked", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
	if w.code != 0 {
		// The answer has begun: all that is left is to cut it off, so that nobody takes it for complete.
		panic(http.ErrAbortHandler)
	}
	g.fail(w, r, apierrors.NewInternalError(fmt.Errorf("the server panicked while serving %s %s", r.Method, r.URL.Path)))
}

// auditID returns the client's identifier of the request or a random one, a UUID.
func auditID(r *http.Request) string {
	if ids := r.Header["Audit-Id"]; len(ids) > 0 && ids[0] != "" && len(ids[0]) <= 64 {
		return ids[0]
	}
	var raw [16]byte
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		raw[i], raw[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
	}
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	var out [36]byte
	hex.Encode(out[0:8], raw[0:4])
	hex.Encode(out[9:13], raw[4:6])
	hex.Encode(out[14:18], raw[6:8])
	hex.Encode(out[19:23], raw[8:10])
	hex.Encode(out[24:36], raw[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}
