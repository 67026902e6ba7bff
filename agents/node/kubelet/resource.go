package kubelet

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"karve.dev/karve/agents/node/figures"
)

var (
	podLabels  = []string{"namespace", "pod"}
	leafLabels = []string{"container", "namespace", "pod"}
	// What /metrics/resource tells, of each of three things.
	resourceOf = func(what string, labels []string) []family[one] {
		return []family[one]{
			counter(what+"_cpu_usage_seconds_total", "Cumulative cpu time consumed by the "+what+" in core-seconds", labels, func(c one) float64 { return c.CPU.Seconds() }),
			gauge(what+"_memory_working_set_bytes", "Current working set of the "+what+" in bytes", labels, func(c one) float64 { return float64(c.WorkingSet) }),
			gauge(what+"_swap_usage_bytes", "Current amount of the "+what+" swap usage in bytes. Reported only on non-windows systems", labels, func(c one) float64 { return float64(c.Swap) }),
		}
	}
	nodeResource  = resourceOf("node", nil)
	podResource   = resourceOf("pod", podLabels)
	leafResource  = append(resourceOf("container", leafLabels), leafStart)
	leafStart     = gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds", leafLabels, func(c one) float64 { return float64(c.StartedAt.UnixMilli()) / 1000 })
	resourceError = gauge("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", nil, scrapeError.value)
)

// resource measures processor time and memory, for one request.
func (s *Server) resource(r *http.Request) prometheus.Collector {
	return collector(func(emit chan<- prometheus.Metric) {
		now, err := s.cfg.Machine.Read()
		if err != nil {
			resourceError.emit(emit, true)
			return
		}
		pods, err := s.cfg.Collector.Pods(r.Context(), figures.Want{})
		resourceError.emit(emit, err != nil)
		machine := whole(now)
		for _, f := range nodeResource {
			f.emit(emit, &machine)
		}
		for i := range pods {
			p := &pods[i]
			sum := total(p)
			for _, f := range podResource {
				f.emit(emit, &sum, p.Spec.Namespace, p.Spec.Name)
			}
			for j := range p.Containers {
				for _, f := range leafResource {
					f.emit(emit, &p.Containers[j], p.Containers[j].Meta.Container, p.Spec.Namespace, p.Spec.Name)
				}
			}
		}
	})
}
