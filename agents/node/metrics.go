package node

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/worker"
)

// newMetrics registers what a node tells about itself, under the names of a kubelet's metrics; several nodes of one
// process are told apart by their label. It returns where pods' starts are counted.
func newMetrics(r prometheus.Registerer, node string, pool func() *worker.Pool) (started func(time.Duration), err error) {
	if r == nil {
		return func(time.Duration) {}, nil
	}
	labels := prometheus.Labels{"node": node}
	starts := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "kubelet_pod_start_duration_seconds", ConstLabels: labels,
		Help:    "Time from when the node first sees a pod until it reports it as running.",
		Buckets: []float64{.05, .1, .2, .3, .5, .75, 1, 2, 5, 10, 30, 60, 300},
	})
	pods := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kubelet_running_pods", Help: "Number of pods that have a running sandbox.", ConstLabels: labels,
	}, func() float64 { n, _ := pool().Running(); return float64(n) })
	containers := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kubelet_running_containers", Help: "Number of containers.", ConstLabels: prometheus.Labels{"node": node, "container_state": string(runtime.Running)},
	}, func() float64 { _, n := pool().Running(); return float64(n) })
	for _, c := range []prometheus.Collector{starts, pods, containers} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of node %s: %w", node, err)
		}
	}
	return func(took time.Duration) { starts.Observe(took.Seconds()) }, nil
}
