package proxy

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	seconds prometheus.Histogram
	servers prometheus.Gauge
	errors  prometheus.Counter
}

// newMetrics registers the proxy's metrics; several proxies of one process share them.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "karve_proxy_apply_seconds", Help: "Time to bring the kernel to a new state of Services.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		servers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "karve_proxy_virtual_servers", Help: "Service ports that are balanced."}),
		errors:  prometheus.NewCounter(prometheus.CounterOpts{Name: "karve_proxy_apply_errors_total", Help: "Times that the kernel could not be brought to a new state."}),
	}
	if r == nil {
		return m, nil
	}
	var err error
	m.seconds = register(r, m.seconds, &err)
	m.servers = register(r, m.servers, &err)
	m.errors = register(r, m.errors, &err)
	return m, err
}

func register[C prometheus.Collector](r prometheus.Registerer, c C, err *error) C {
	regErr := r.Register(c)
	var known prometheus.AlreadyRegisteredError
	if errors.As(regErr, &known) {
		if old, ok := known.ExistingCollector.(C); ok {
			return old
		}
	}
	if regErr != nil && *err == nil {
		*err = regErr
	}
	return c
}

func (m *metrics) applied(took time.Duration, servers int, err error) {
	m.seconds.Observe(took.Seconds())
	m.servers.Set(float64(servers))
	if err != nil {
		m.errors.Inc()
	}
}
