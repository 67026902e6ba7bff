// Package stream serves what leaves the request-and-answer form of HTTP: a container's log, and the byte streams of
// exec, attach and port-forward over WebSocket and SPDY. It pipes them to the API service's PodAccessService.
package stream

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/streaming/pkg/httpstream"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
)

const (
	// idleTimeout ends streams on which nothing moves.
	idleTimeout = 4 * time.Hour
	// creationTimeout is how long a SPDY client may take to open its streams.
	creationTimeout = 30 * time.Second
	// headerTimeout is how long a stream waits to hear that the pod's node accepted it, before it is upgraded all the
	// same and errors go into the stream.
	headerTimeout = 10 * time.Second
	// lastWord is how long an ended command's connection stays for its status.
	lastWord = 300 * time.Millisecond
	// chunk is how much is read from a client at once: with what gRPC adds it fits a buffer of 32 KiB. The next larger takes 1 MiB.
	chunk = 32<<10 - 64
)

// Server pipes clients' streams to pods. It is safe for concurrent use.
type Server struct {
	api   agentv1.PodAccessServiceClient
	log   *zap.Logger
	pumps sync.WaitGroup
}

// New returns a server over the API service's pod access.
func New(api agentv1.PodAccessServiceClient, log *zap.Logger) *Server {
	return &Server{api: api, log: log}
}

// Wait returns when every goroutine that a finished request left behind has ended: they read from connections that are
// closed by then.
func (s *Server) Wait() { s.pumps.Wait() }

// Request is one request for a stream.
type Request struct {
	// Context carries the caller's credentials as outgoing metadata; its end ends the stream.
	Context context.Context
	// Writer can be hijacked where the client speaks HTTP/1.1.
	Writer         http.ResponseWriter
	HTTP           *http.Request
	Query          url.Values
	Namespace, Pod string
	// Stopping ends when the server does: then nobody is waited for.
	Stopping context.Context
}

func (r *Request) pod() *agentv1.PodRef {
	return &agentv1.PodRef{Namespace: r.Namespace, Name: r.Pod, Container: r.Query.Get("container")}
}

// is reads a boolean parameter.
func (r *Request) is(name string) bool {
	values, ok := r.Query[name]
	return ok && len(values) > 0 && !strings.EqualFold(values[0], "false") && values[0] != "0"
}

// upgradable refuses requests that cannot become a stream.
func (r *Request) upgradable() error {
	if !httpstream.IsUpgradeRequest(r.HTTP) {
		return apierrors.NewBadRequest("Upgrade request required")
	}
	if _, ok := r.Writer.(http.Hijacker); !ok || r.HTTP.ProtoMajor != 1 {
		return apierrors.NewBadRequest("streams need HTTP/1.1")
	}
	return nil
}
