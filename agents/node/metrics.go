package node

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"karve.dev/karve/agents/node/probe"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/worker"
	"karve.dev/karve/internal/version"
)

// metrics are what a node tells about itself, under the names of a kubelet's metrics. They are the node's own; in the
// process's registry they are told apart by a label.
type metrics struct {
	registry  *prometheus.Registry
	starts    prometheus.Histogram
	evictions *prometheus.CounterVec
	collected *prometheus.CounterVec
}

func newMetrics(process prometheus.Registerer, node string, pool func() *worker.Pool) (*metrics, error) {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		starts: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubelet_pod_start_duration_seconds", Help: "Time from when the node first sees a pod until it reports it as running.",
			Buckets: []float64{.05, .1, .2, .3, .5, .75, 1, 2, 5, 10, 30, 60, 300},
		}),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_evictions", Help: "Cumulative number of pod evictions by eviction signal"}, []string{"eviction_signal"}),
		collected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_image_garbage_collected_total", Help: "Total number of images garbage collected by the kubelet, whether through disk usage or image age."}, []string{"reason"}),
	}
	all := []prometheus.Collector{m.starts, m.evictions, m.collected}
	number := func(name, help string, labels prometheus.Labels, value func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	number("kubelet_running_pods", "Number of pods that have a running sandbox.", nil, func() float64 { n, _ := pool().Running(); return float64(n) })
	number("kubelet_running_containers", "Number of containers.", prometheus.Labels{"container_state": string(runtime.Running)}, func() float64 { _, n := pool().Running(); return float64(n) })
	number("kubelet_desired_pods", "The number of pods the node is instructed to run.", nil, func() float64 { return float64(len(pool().Pods())) })
	all = append(all, startTotals(pool))
	for _, c := range all {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of node %s: %w", node, err)
		}
	}
	if process == nil {
		return m, nil
	}
	if err := prometheus.WrapRegistererWith(prometheus.Labels{"node": node}, process).Register(m.registry); err != nil {
		return nil, fmt.Errorf("register the metrics of node %s: %w", node, err)
	}
	return m, nil
}

func (m *metrics) started(took time.Duration) { m.starts.Observe(took.Seconds()) }

// gatherer is what the node's own endpoint shows: besides, who it is, and how its process is doing. It is made when
// somebody looks for the first time.
func (m *metrics) gatherer(node string, besides ...prometheus.Collector) prometheus.Gatherer {
	all := sync.OnceValue(func() prometheus.Gatherers {
		process := prometheus.NewRegistry()
		is := func(name, help string, labels prometheus.Labels) prometheus.Collector {
			return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return 1 })
		}
		process.MustRegister(
			is("kubelet_node_name", "The node's name. The count is always 1.", prometheus.Labels{"node": node}),
			is("kubernetes_build_info", "A metric with a constant '1' value labeled by the version.", prometheus.Labels{"git_version": version.Server()}),
			collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		)
		process.MustRegister(besides...)
		return prometheus.Gatherers{m.registry, process}
	})
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return all().Gather() })
}

var (
	startedContainers = prometheus.NewDesc("kubelet_started_containers_total", "Cumulative number of containers started", []string{"container_type"}, nil)
	failedContainers  = prometheus.NewDesc("kubelet_started_containers_errors_total", "Cumulative number of errors when starting containers", []string{"container_type", "code"}, nil)
	startedPods       = prometheus.NewDesc("kubelet_started_pods_total", "Cumulative number of pods started", nil, nil)
	failedPods        = prometheus.NewDesc("kubelet_started_pods_errors_total", "Cumulative number of errors when starting pods", nil, nil)
)

// startTotals shows how often a node has started containers and sandboxes.
type startTotals func() *worker.Pool

// Describe implements prometheus.Collector.
func (s startTotals) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{startedContainers, failedContainers, startedPods, failedPods} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (s startTotals) Collect(to chan<- prometheus.Metric) {
	failed := 0
	for start, n := range s().Starts() {
		switch {
		case start.Type != "" && start.Fault != "":
			to <- prometheus.MustNewConstMetric(failedContainers, prometheus.CounterValue, float64(n), start.Type, start.Fault)
		case start.Type != "":
			to <- prometheus.MustNewConstMetric(startedContainers, prometheus.CounterValue, float64(n), start.Type)
		case start.Fault != "":
			failed += n
		default:
			to <- prometheus.MustNewConstMetric(startedPods, prometheus.CounterValue, float64(n))
		}
	}
	to <- prometheus.MustNewConstMetric(failedPods, prometheus.CounterValue, float64(failed))
}

var probesTotal = prometheus.NewDesc("prober_probe_total", "Cumulative number of a liveness, readiness or startup probe for a container by result.",
	[]string{"probe_type", "result", "container", "pod", "namespace", "pod_uid"}, nil)

// probeTotals shows how the probes of a node's pods have ended.
type probeTotals struct {
	probes *probe.Manager
	pool   *worker.Pool
}

// Describe implements prometheus.Collector.
func (p probeTotals) Describe(to chan<- *prometheus.Desc) { to <- probesTotal }

// Collect implements prometheus.Collector.
func (p probeTotals) Collect(to chan<- prometheus.Metric) {
	names := map[string][2]string{}
	for _, pod := range p.pool.Pods() {
		names[string(pod.UID)] = [2]string{pod.Name, pod.Namespace}
	}
	kinds := map[string]string{"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}
	for _, c := range p.probes.Counts() {
		pod, known := names[c.UID]
		if !known {
			continue
		}
		for result, n := range map[string]int64{"successful": c.Succeeded, "failed": c.Failed} {
			to <- prometheus.MustNewConstMetric(probesTotal, prometheus.CounterValue, float64(n), kinds[c.Kind], result, c.Container, pod[0], pod[1], c.UID)
		}
	}
}
