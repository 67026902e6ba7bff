// Package kubelet serves the HTTPS endpoints of a node that monitoring knows from kubelets: health, metrics of several
// sorts, the stats summary and the node's pods. Callers are who the API says, and may what it says.
package kubelet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/figures"
	"karve.dev/karve/agents/node/machine"
)

const (
	// atOnce bounds the answers that are made at the same time.
	atOnce = 8
	// answerTimeout bounds the making of one.
	answerTimeout = 30 * time.Second
	// MaxConnections bounds the connections that monitoring may hold.
	MaxConnections = 256
)

// Config is what the endpoints tell of.
type Config struct {
	Node      string
	Collector *figures.Collector
	Rates     *figures.Rates
	Machine   machine.Reader
	// Own are the metrics of the agent itself, Probes those of its probes.
	Own, Probes prometheus.Gatherer
	// Pods are the node's, with their statuses.
	Pods func() []corev1.Pod
	// Healthy returns what is wrong with the node, if anything.
	Healthy func() error
	Access  *Access
	Log     *zap.Logger
}

// Server answers requests.
type Server struct {
	cfg   Config
	slots chan struct{}
	mux   http.ServeMux
}

// New returns a server, which is an http.Handler.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, slots: make(chan struct{}, atOnce)}
	for path, h := range map[string]http.Handler{
		"/healthz":          http.HandlerFunc(s.healthz),
		"/metrics":          s.metrics(cfg.Own),
		"/metrics/probes":   s.metrics(cfg.Probes),
		"/metrics/cadvisor": s.measured(s.cadvisor),
		"/metrics/resource": s.measured(s.resource),
		"/stats/summary":    http.HandlerFunc(s.summary),
		"/pods":             http.HandlerFunc(s.pods),
	} {
		s.mux.Handle("GET "+path, h)
		s.mux.Handle("GET "+path+"/{$}", h)
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.cfg.Access.admit(w, r, s.cfg.Node) {
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-r.Context().Done():
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Healthy(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, "ok")
}

func (s *Server) metrics(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, Timeout: answerTimeout})
}

// measured shows metrics that are made for the request.
func (s *Server) measured(collect func(r *http.Request) prometheus.Collector) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		registry := prometheus.NewPedanticRegistry()
		if err := registry.Register(collect(r)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.metrics(registry).ServeHTTP(w, r)
	})
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{Items: s.cfg.Pods()}
	list.APIVersion, list.Kind = "v1", "PodList"
	s.json(w, &list)
}

func (s *Server) json(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.cfg.Log.Debug("answer", zap.Error(err)) // the client has gone
	}
}
