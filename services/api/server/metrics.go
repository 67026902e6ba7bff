package server

import (
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/status"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// Metrics counts requests. A nil *Metrics counts nothing.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewMetrics registers the request metrics; nil without a registerer.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	if reg == nil {
		return nil, nil
	}
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "karve_api_requests_total", Help: "Requests by method, kind and gRPC code.",
		}, []string{"method", "kind", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "karve_api_request_duration_seconds", Help: "How long unary requests took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"method", "kind"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// observe takes in one finished call; req is nil for streams.
func (m *Metrics) observe(fullMethod string, req any, err error, took time.Duration) {
	if m == nil {
		return
	}
	method, kind := path.Base(fullMethod), ""
	if about, ok := req.(interface{ GetRef() *apiv1.ObjectRef }); ok {
		// Only kinds that exist become labels: what callers make up does not.
		if status.Code(err) == 0 {
			kind = about.GetRef().GetKind()
		}
	}
	m.requests.WithLabelValues(method, kind, status.Code(err).String()).Inc()
	if req != nil {
		m.duration.WithLabelValues(method, kind).Observe(took.Seconds())
	}
}
