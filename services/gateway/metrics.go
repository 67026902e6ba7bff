package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/fair"
	"karve.dev/karve/services/gateway/route"
)

// metrics counts requests under the names that Kubernetes' dashboards and alerts use.
type metrics struct {
	own      *prometheus.Registry
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec

	mu    sync.RWMutex
	cache map[series]*counters
}

// series is what requests are told apart by.
type series struct {
	resource *route.Resource
	sub      *route.Subresource
	verb     string
	scope    string
	code     int
}

type counters struct {
	total    prometheus.Counter
	duration prometheus.Observer
}

func newMetrics(registerer prometheus.Registerer, reads, writes *fair.Limiter) (*metrics, error) {
	labels := []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}
	m := &metrics{
		own:   prometheus.NewRegistry(),
		cache: map[series]*counters{},
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total", Help: "Requests by verb, resource, scope and HTTP response code.",
		}, append(labels[:len(labels):len(labels)], "code")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds", Help: "Time to answer requests by verb, resource and scope, in seconds.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		}, labels),
	}
	collectors := []prometheus.Collector{m.total, m.duration}
	for kind, l := range map[string]*fair.Limiter{"readOnly": reads, "mutating": writes} {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "apiserver_current_inflight_requests", Help: "Requests that run, watches and streams apart.", ConstLabels: prometheus.Labels{"request_kind": kind},
		}, func() float64 { running, _ := l.Load(); return float64(running) }))
	}
	for _, c := range collectors {
		m.own.MustRegister(c)
		if registerer == nil {
			continue
		}
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("gateway: register metrics: %w", err)
		}
	}
	return m, nil
}

// observe counts a request. Watches and streams have no meaningful duration.
func (m *metrics) observe(t *route.Target, method string, code int, took time.Duration) {
	s := series{verb: method, code: code}
	long := false
	if t.Resource != nil {
		s = series{resource: t.Resource, sub: t.Sub, verb: metricVerbs[t.Verb], scope: scopeOf(t), code: code}
		long = t.LongRunning()
	}
	c := m.counters(s)
	c.total.Inc()
	if !long {
		c.duration.Observe(took.Seconds())
	}
}

var metricVerbs = [...]string{"GET", "LIST", "WATCH", "POST", "PUT", "PATCH", "DELETE", "DELETECOLLECTION"}

func scopeOf(t *route.Target) string {
	switch {
	case t.Name != "":
		return "resource"
	case t.Namespace != "":
		return "namespace"
	default:
		return "cluster"
	}
}

func (m *metrics) counters(s series) *counters {
	m.mu.RLock()
	c := m.cache[s]
	m.mu.RUnlock()
	if c != nil {
		return c
	}
	labels := []string{knownMethod(s.verb), "", "", "", "", s.scope, "apiserver"}
	if s.resource != nil {
		labels[1], labels[2], labels[3] = s.resource.Group, s.resource.Version, s.resource.Name
	}
	if s.sub != nil {
		labels[4] = s.sub.Name
	}
	s.verb = labels[0]
	c = &counters{duration: m.duration.WithLabelValues(labels...), total: m.total.WithLabelValues(append(labels, strconv.Itoa(s.code))...)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.cache) >= maxSeries {
		// The table of kinds was replaced many times: its entries are the keys.
		clear(m.cache)
	}
	m.cache[s] = c
	return c
}

const maxSeries = 10000

// knownMethod keeps made-up methods from making series.
func knownMethod(verb string) string {
	for _, known := range metricVerbs {
		if verb == known {
			return verb
		}
	}
	if verb == http.MethodHead || verb == http.MethodOptions {
		return verb
	}
	return "OTHER"
}

// serveMetrics answers with the metrics of the API service's process and the gateway's, each once: in one process they
// may be registered in one place.
func (g *Gateway) serveMetrics(w *response, r *http.Request, ctx context.Context) {
	res, err := g.system.GetMetrics(ctx, &systemv1.GetMetricsRequest{})
	if err != nil {
		g.fail(w, r, err)
		return
	}
	var own bytes.Buffer
	families, err := g.metrics.own.Gather()
	if err != nil {
		g.fail(w, r, err)
		return
	}
	for _, f := range families {
		if bytes.Contains(res.GetText(), []byte("# TYPE "+f.GetName()+" ")) {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&own, f); err != nil {
			g.fail(w, r, err)
			return
		}
	}
	b := body{contentType: metricsType, code: http.StatusOK, data: res.GetText(), tail: own.Bytes()}
	b.write(w, r)
}

var metricsType = []string{"text/plain; version=0.0.4; charset=utf-8"}
