package kubelet

import (
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/figures"
	"karve.dev/karve/agents/node/machine"
)

// The stats summary of a kubelet, version v1alpha1, as far as the node knows its figures.
type (
	summary struct {
		Node nodeStats  `json:"node"`
		Pods []podStats `json:"pods"`
	}
	nodeStats struct {
		NodeName  string        `json:"nodeName"`
		StartTime metav1.Time   `json:"startTime"`
		CPU       *cpuStats     `json:"cpu,omitempty"`
		Memory    *memoryStats  `json:"memory,omitempty"`
		Swap      *swapStats    `json:"swap,omitempty"`
		Network   *networkStats `json:"network,omitempty"`
		FS        *fsStats      `json:"fs,omitempty"`
		Runtime   *runtimeStats `json:"runtime,omitempty"`
		Rlimit    *rlimitStats  `json:"rlimit,omitempty"`
	}
	runtimeStats struct {
		ImageFS     *fsStats `json:"imageFs,omitempty"`
		ContainerFS *fsStats `json:"containerFs,omitempty"`
	}
	rlimitStats struct {
		Time    metav1.Time `json:"time"`
		MaxPID  int64       `json:"maxpid"`
		CurProc int64       `json:"curproc"`
	}
	podStats struct {
		PodRef           podRef           `json:"podRef"`
		StartTime        metav1.Time      `json:"startTime"`
		Containers       []containerStats `json:"containers"`
		CPU              *cpuStats        `json:"cpu,omitempty"`
		Memory           *memoryStats     `json:"memory,omitempty"`
		Swap             *swapStats       `json:"swap,omitempty"`
		Network          *networkStats    `json:"network,omitempty"`
		Volume           []volumeStats    `json:"volume,omitempty"`
		EphemeralStorage *fsStats         `json:"ephemeral-storage,omitempty"`
		ProcessStats     *processStats    `json:"process_stats,omitempty"`
	}
	podRef struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid"`
	}
	containerStats struct {
		Name      string       `json:"name"`
		StartTime metav1.Time  `json:"startTime"`
		CPU       *cpuStats    `json:"cpu,omitempty"`
		Memory    *memoryStats `json:"memory,omitempty"`
		Swap      *swapStats   `json:"swap,omitempty"`
		RootFS    *fsStats     `json:"rootfs,omitempty"`
		Logs      *fsStats     `json:"logs,omitempty"`
	}
	cpuStats struct {
		Time                 metav1.Time `json:"time"`
		UsageNanoCores       *uint64     `json:"usageNanoCores,omitempty"`
		UsageCoreNanoSeconds int64       `json:"usageCoreNanoSeconds"`
	}
	memoryStats struct {
		Time            metav1.Time `json:"time"`
		AvailableBytes  *int64      `json:"availableBytes,omitempty"`
		UsageBytes      int64       `json:"usageBytes"`
		WorkingSetBytes int64       `json:"workingSetBytes"`
		RSSBytes        int64       `json:"rssBytes"`
		PageFaults      int64       `json:"pageFaults"`
		MajorPageFaults int64       `json:"majorPageFaults"`
	}
	swapStats struct {
		Time           metav1.Time `json:"time"`
		AvailableBytes *int64      `json:"swapAvailableBytes,omitempty"`
		UsageBytes     int64       `json:"swapUsageBytes"`
	}
	networkStats struct {
		Time metav1.Time `json:"time"`
		interfaceStats
		Interfaces []interfaceStats `json:"interfaces,omitempty"`
	}
	interfaceStats struct {
		Name     string `json:"name"`
		RxBytes  int64  `json:"rxBytes"`
		RxErrors int64  `json:"rxErrors"`
		TxBytes  int64  `json:"txBytes"`
		TxErrors int64  `json:"txErrors"`
	}
	fsStats struct {
		Time           metav1.Time `json:"time"`
		AvailableBytes int64       `json:"availableBytes"`
		CapacityBytes  int64       `json:"capacityBytes"`
		UsedBytes      int64       `json:"usedBytes"`
		InodesFree     int64       `json:"inodesFree"`
		Inodes         int64       `json:"inodes"`
		InodesUsed     int64       `json:"inodesUsed"`
	}
	volumeStats struct {
		fsStats
		Name   string    `json:"name"`
		PVCRef *claimRef `json:"pvcRef,omitempty"`
	}
	claimRef struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	}
	processStats struct {
		ProcessCount int64 `json:"process_count"`
	}
)

// summary answers with everything in one document, or with processor time and memory only.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	small := r.URL.Query().Get("only_cpu_and_memory") == "true"
	now, err := s.cfg.Machine.Read()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	rates, err := s.cfg.Rates.Now(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	pods, err := s.cfg.Collector.Pods(r.Context(), figures.Want{Disk: !small})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	made := maker{rates: map[string]float64{}, small: small, now: now}
	for _, p := range rates.Pods {
		for _, c := range p.Containers {
			made.rates[p.UID+"/"+c.Name] = c.CPU
		}
	}
	out := summary{Node: made.node(s.cfg.Node, rates.Machine.CPU), Pods: []podStats{}}
	for i := range pods {
		out.Pods = append(out.Pods, made.pod(&pods[i]))
	}
	s.json(w, out)
}

// maker makes the parts of a summary.
type maker struct {
	rates map[string]float64 // by pod UID and container
	now   machine.Figures
	small bool
}

func (m *maker) node(name string, rate float64) nodeStats {
	at, all := metav1.NewTime(m.now.At), whole(m.now)
	out := nodeStats{NodeName: name, StartTime: metav1.NewTime(m.now.Boot), CPU: cpu(at, &all, rate), Memory: memory(at, &all)}
	out.Memory.AvailableBytes = &m.now.MemoryFree
	if m.small {
		return out
	}
	out.Network = network(at, m.now.Network)
	node, images := fs(m.now.NodeDisk, m.now.At), fs(m.now.ImageDisk, m.now.At)
	out.FS, out.Runtime = &node, &runtimeStats{ImageFS: &images, ContainerFS: &images}
	out.Swap = &swapStats{Time: at, AvailableBytes: &m.now.SwapFree, UsageBytes: m.now.Swap - m.now.SwapFree}
	out.Rlimit = &rlimitStats{Time: at, MaxPID: m.now.MaxProcesses, CurProc: m.now.Processes}
	return out
}

func (m *maker) pod(p *figures.Pod) podStats {
	sum := total(p)
	at := metav1.NewTime(sum.At)
	out := podStats{
		PodRef: podRef{p.Spec.Name, p.Spec.Namespace, string(p.Spec.UID)}, Containers: []containerStats{},
		StartTime: metav1.NewTime(sum.StartedAt), Memory: memory(at, &sum), ProcessStats: &processStats{sum.Processes},
	}
	if p.Status.StartTime != nil {
		out.StartTime = *p.Status.StartTime
	}
	var rate float64
	own := fs(m.now.NodeDisk, m.now.At)
	own.UsedBytes, own.InodesUsed = 0, 0
	for i := range p.Containers {
		c := &p.Containers[i]
		rate += m.rates[string(p.Spec.UID)+"/"+c.Meta.Container]
		out.Containers = append(out.Containers, m.container(string(p.Spec.UID), c))
		own.UsedBytes += c.Layer.Bytes + c.Logs.Bytes
		own.InodesUsed += c.Layer.Inodes + c.Logs.Inodes
	}
	out.CPU = cpu(at, &sum, rate)
	if m.small {
		return out
	}
	for i := range p.Volumes {
		v := &p.Volumes[i]
		stats := volumeStats{fsStats: occupied(v.Disk, v.Used), Name: v.Name}
		if v.Claim != "" {
			stats.PVCRef = &claimRef{v.Claim, p.Spec.Namespace}
		} else if !v.Memory {
			own.UsedBytes += v.Used.Bytes
			own.InodesUsed += v.Used.Inodes
		}
		out.Volume = append(out.Volume, stats)
	}
	out.Network, out.EphemeralStorage, out.Swap = network(at, p.Network), &own, &swapStats{Time: at, UsageBytes: sum.Swap}
	return out
}

func (m *maker) container(uid string, c one) containerStats {
	at := metav1.NewTime(c.At)
	out := containerStats{Name: c.Meta.Container, StartTime: metav1.NewTime(c.StartedAt), CPU: cpu(at, c, m.rates[uid+"/"+c.Meta.Container]), Memory: memory(at, c)}
	if c.MemoryLimit > 0 {
		left := max(0, c.MemoryLimit-c.WorkingSet)
		out.Memory.AvailableBytes = &left
	}
	if !m.small {
		layer, logs := occupied(m.now.ImageDisk, c.Layer), occupied(m.now.ImageDisk, c.Logs)
		out.RootFS, out.Logs, out.Swap = &layer, &logs, &swapStats{Time: at, UsageBytes: c.Swap}
	}
	return out
}

func cpu(at metav1.Time, c one, rate float64) *cpuStats {
	nano := uint64(rate * float64(time.Second))
	return &cpuStats{Time: at, UsageNanoCores: &nano, UsageCoreNanoSeconds: int64(c.CPU)}
}

func memory(at metav1.Time, c one) *memoryStats {
	return &memoryStats{Time: at, UsageBytes: c.Memory, WorkingSetBytes: c.WorkingSet, RSSBytes: c.RSS, PageFaults: c.Faults, MajorPageFaults: c.MajorFaults}
}

func network(at metav1.Time, list []machine.Interface) *networkStats {
	if len(list) == 0 {
		return nil
	}
	out := &networkStats{Time: at}
	for _, n := range list {
		out.Interfaces = append(out.Interfaces, interfaceStats{n.Name, n.RxBytes, n.RxErrors, n.TxBytes, n.TxErrors})
	}
	out.interfaceStats = out.Interfaces[0]
	for _, n := range out.Interfaces {
		if n.Name == "eth0" {
			out.interfaceStats = n
		}
	}
	return out
}

// fs is a whole file system, occupied what one thing takes of it.
func fs(d machine.Disk, at time.Time) fsStats {
	return fsStats{
		Time: metav1.NewTime(at), AvailableBytes: d.Free, CapacityBytes: d.Total, UsedBytes: d.Used(),
		InodesFree: d.InodesFree, Inodes: d.Inodes, InodesUsed: d.Inodes - d.InodesFree,
	}
}

func occupied(d machine.Disk, s figures.Space) fsStats {
	out := fs(d, s.At)
	out.UsedBytes, out.InodesUsed = s.Bytes, s.Inodes
	return out
}
