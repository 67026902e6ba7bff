package kubelet

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"karve.dev/karve/agents/node/figures"
	"karve.dev/karve/agents/node/machine"
)

// collector is a prometheus.Collector whose metrics are not told beforehand.
type collector func(emit chan<- prometheus.Metric)

// Describe implements prometheus.Collector.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(emit chan<- prometheus.Metric) { c(emit) }

// family is a metric of a kind of thing: its name, and how it is read off one.
type family[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(T) float64
}

func counter[T any](name, help string, labels []string, value func(T) float64) family[T] {
	return family[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, value}
}

func gauge[T any](name, help string, labels []string, value func(T) float64) family[T] {
	return family[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, value}
}

func (f family[T]) emit(to chan<- prometheus.Metric, of T, labels ...string) {
	to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(of), labels...)
}

var (
	containerLabels = []string{"container", "id", "image", "name", "namespace", "pod"}
	totalLabels     = append([]string{"cpu"}, containerLabels...)
	failureLabels   = append([]string{"failure_type", "scope"}, containerLabels...)
	deviceLabels    = append([]string{"device"}, containerLabels...)
	networkLabels   = append([]string{"interface"}, containerLabels...)
)

type one = *figures.Container

// ofGroups are what control groups tell, of containers and of pods as a whole; ofContainers what only containers have.
var (
	cpuTotal = counter("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", totalLabels, func(c one) float64 { return c.CPU.Seconds() })
	ofGroups = []family[one]{
		counter("container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", containerLabels, func(c one) float64 { return c.User.Seconds() }),
		counter("container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.", containerLabels, func(c one) float64 { return c.System.Seconds() }),
		gauge("container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", containerLabels, func(c one) float64 { return float64(c.Memory) }),
		gauge("container_memory_working_set_bytes", "Current working set in bytes.", containerLabels, func(c one) float64 { return float64(c.WorkingSet) }),
		gauge("container_memory_rss", "Size of RSS in bytes.", containerLabels, func(c one) float64 { return float64(c.RSS) }),
		gauge("container_memory_cache", "Number of bytes of page cache memory.", containerLabels, func(c one) float64 { return float64(c.Cache) }),
		gauge("container_memory_swap", "Container swap usage in bytes.", containerLabels, func(c one) float64 { return float64(c.Swap) }),
		gauge("container_memory_mapped_file", "Size of memory mapped files in bytes.", containerLabels, func(c one) float64 { return float64(c.Mapped) }),
		gauge("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", containerLabels, func(c one) float64 { return float64(c.MaxMemory) }),
		counter("container_memory_failcnt", "Number of memory usage hits limits", containerLabels, func(c one) float64 { return float64(c.Failures) }),
		counter("container_oom_events_total", "Count of out of memory events observed for the container", containerLabels, func(c one) float64 { return float64(c.OOMKills) }),
		gauge("container_processes", "Number of processes running inside the container.", containerLabels, func(c one) float64 { return float64(c.Processes) }),
		gauge("container_threads", "Number of threads running inside the container", containerLabels, func(c one) float64 { return float64(c.Processes) }),
	}
	ofContainers = []family[one]{
		counter("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", containerLabels, func(c one) float64 { return float64(c.Periods) }),
		counter("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", containerLabels, func(c one) float64 { return float64(c.Throttled) }),
		counter("container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.", containerLabels, func(c one) float64 { return c.ThrottledFor.Seconds() }),
		gauge("container_spec_cpu_shares", "CPU share of the container.", containerLabels, func(c one) float64 { return float64(c.Shares) }),
		gauge("container_spec_cpu_period", "CPU period of the container.", containerLabels, func(c one) float64 { return float64(c.Period.Microseconds()) }),
		gauge("container_spec_memory_limit_bytes", "Memory limit for the container.", containerLabels, func(c one) float64 { return float64(c.MemoryLimit) }),
		gauge("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.", containerLabels, func(c one) float64 { return float64(c.SwapLimit) }),
		gauge("container_threads_max", "Maximum number of threads allowed inside the container, infinity if value is zero", containerLabels, func(c one) float64 { return float64(c.MaxPIDs) }),
		gauge("container_file_descriptors", "Number of open file descriptors for the container.", containerLabels, func(c one) float64 { return float64(c.Files) }),
		gauge("container_sockets", "Number of open sockets for the container.", containerLabels, func(c one) float64 { return float64(c.Sockets) }),
		gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", containerLabels, func(c one) float64 { return float64(c.StartedAt.Unix()) }),
		gauge("container_last_seen", "Last time a container was seen by the exporter", containerLabels, func(c one) float64 { return float64(c.At.Unix()) }),
	}
	quota     = gauge("container_spec_cpu_quota", "CPU quota of the container.", containerLabels, func(c one) float64 { return float64(c.Quota.Microseconds()) })
	ofFailure = []struct {
		kind string
		family[one]
	}{
		{"pgfault", counter("container_memory_failures_total", "Cumulative count of memory allocation failures.", failureLabels, func(c one) float64 { return float64(c.Faults) })},
		{"pgmajfault", counter("container_memory_failures_total", "Cumulative count of memory allocation failures.", failureLabels, func(c one) float64 { return float64(c.MajorFaults) })},
	}
	ofDevice = []family[one]{
		gauge("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.", deviceLabels, func(c one) float64 { return float64(c.Layer.Bytes + c.Logs.Bytes) }),
		counter("container_fs_reads_bytes_total", "Cumulative count of bytes read", deviceLabels, func(c one) float64 { return float64(c.ReadBytes) }),
		counter("container_fs_reads_total", "Cumulative count of reads completed", deviceLabels, func(c one) float64 { return float64(c.ReadOps) }),
		counter("container_fs_writes_bytes_total", "Cumulative count of bytes written", deviceLabels, func(c one) float64 { return float64(c.WriteBytes) }),
		counter("container_fs_writes_total", "Cumulative count of writes completed", deviceLabels, func(c one) float64 { return float64(c.WriteOps) }),
	}
	ofDisk = []family[machine.Disk]{
		gauge("container_fs_limit_bytes", "Number of bytes that can be consumed by the container on this filesystem.", deviceLabels, func(d machine.Disk) float64 { return float64(d.Total) }),
		gauge("container_fs_inodes_total", "Number of Inodes", deviceLabels, func(d machine.Disk) float64 { return float64(d.Inodes) }),
		gauge("container_fs_inodes_free", "Number of available Inodes", deviceLabels, func(d machine.Disk) float64 { return float64(d.InodesFree) }),
	}
	ofNetwork = []family[machine.Interface]{
		counter("container_network_receive_bytes_total", "Cumulative count of bytes received", networkLabels, func(n machine.Interface) float64 { return float64(n.RxBytes) }),
		counter("container_network_receive_packets_total", "Cumulative count of packets received", networkLabels, func(n machine.Interface) float64 { return float64(n.RxPackets) }),
		counter("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", networkLabels, func(n machine.Interface) float64 { return float64(n.RxErrors) }),
		counter("container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving", networkLabels, func(n machine.Interface) float64 { return float64(n.RxDropped) }),
		counter("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", networkLabels, func(n machine.Interface) float64 { return float64(n.TxBytes) }),
		counter("container_network_transmit_packets_total", "Cumulative count of packets transmitted", networkLabels, func(n machine.Interface) float64 { return float64(n.TxPackets) }),
		counter("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", networkLabels, func(n machine.Interface) float64 { return float64(n.TxErrors) }),
		counter("container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting", networkLabels, func(n machine.Interface) float64 { return float64(n.TxDropped) }),
	}
	ofMachine = []family[machine.Figures]{
		gauge("machine_cpu_cores", "Number of logical CPU cores.", nil, func(f machine.Figures) float64 { return float64(f.Cores) }),
		gauge("machine_memory_bytes", "Amount of memory installed on the machine.", nil, func(f machine.Figures) float64 { return float64(f.Memory) }),
		gauge("machine_swap_bytes", "Amount of swap memory available on the machine.", nil, func(f machine.Figures) float64 { return float64(f.Swap) }),
	}
	machineError = gauge("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.", nil, scrapeError.value)
	scrapeError  = gauge("container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", nil, func(failed bool) float64 {
		if failed {
			return 1
		}
		return 0
	})
)

// disk is the device by which file systems of containers are told.
const disk = "overlay"

// cadvisor measures everything, for one request.
func (s *Server) cadvisor(r *http.Request) prometheus.Collector {
	return collector(func(emit chan<- prometheus.Metric) {
		now, err := s.cfg.Machine.Read()
		if err != nil {
			scrapeError.emit(emit, true)
			machineError.emit(emit, true)
			return
		}
		pods, err := s.cfg.Collector.Pods(r.Context(), figures.Want{Disk: true})
		scrapeError.emit(emit, err != nil)
		machineError.emit(emit, false)
		for _, f := range ofMachine {
			f.emit(emit, now)
		}
		whole := whole(now)
		emitGroup(emit, &whole, "", "/", "", "", "", "")
		for i := range pods {
			emitPod(emit, &pods[i], now.ImageDisk)
		}
	})
}

func emitPod(emit chan<- prometheus.Metric, p *figures.Pod, images machine.Disk) {
	namespace, pod := p.Spec.Namespace, p.Spec.Name
	sum := total(p)
	emitGroup(emit, &sum, "", podGroup(p), "", "", namespace, pod)
	for i := range p.Containers {
		emitContainer(emit, &p.Containers[i], p.Containers[i].Meta.Container, images)
	}
	if p.Sandbox == nil {
		return
	}
	emitContainer(emit, p.Sandbox, "", images)
	for _, n := range p.Network {
		for _, f := range ofNetwork {
			f.emit(emit, n, n.Name, "", p.Sandbox.Group, p.Sandbox.Image, p.Sandbox.ContainerName(), namespace, pod)
		}
	}
}

func emitContainer(emit chan<- prometheus.Metric, c one, name string, images machine.Disk) {
	labels := []string{name, c.Group, c.Image, c.ContainerName(), c.Namespace, c.Meta.Pod}
	emitGroup(emit, c, labels...)
	for _, f := range ofContainers {
		f.emit(emit, c, labels...)
	}
	if c.Quota > 0 {
		quota.emit(emit, c, labels...)
	}
	if name == "" {
		return // a sandbox has no files
	}
	device := append([]string{disk}, labels...)
	for _, f := range ofDevice {
		f.emit(emit, c, device...)
	}
	for _, f := range ofDisk {
		f.emit(emit, images, device...)
	}
}

func emitGroup(emit chan<- prometheus.Metric, c one, labels ...string) {
	cpuTotal.emit(emit, c, append([]string{"total"}, labels...)...)
	for _, f := range ofGroups {
		f.emit(emit, c, labels...)
	}
	for _, f := range ofFailure {
		f.emit(emit, c, append([]string{f.kind, "container"}, labels...)...)
	}
}
