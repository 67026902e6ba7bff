package node

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/figures"
	"karve.dev/karve/agents/node/kubelet"
	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/podserver"
	"karve.dev/karve/agents/node/runtime"
	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/transport"
)

// measures are what the agent can tell of the machine and of what pods use.
type measures struct {
	machine   machine.Reader
	collector *figures.Collector
	rates     *figures.Rates
	root      atomic.Pointer[string] // where the engine keeps its files, once it has said so
}

func (a *Agent) newMeasures() *measures {
	m := &measures{machine: a.cfg.Machine}
	_, pretends := a.cfg.Runtime.(runtime.Simulation)
	if m.machine == nil && pretends {
		m.machine = plenty{}
	} else if m.machine == nil {
		m.machine = here{m, a.cfg.DataDir}
	}
	m.collector = figures.New(figures.Config{
		Pods:    func() []*podserver.Pod { return a.pool.All() },
		PodsDir: podsDir(a.cfg.DataDir), EngineRoot: m.engineRoot, Pretended: pretends,
	})
	m.rates = figures.NewRates(m.collector, m.machine)
	return m
}

func (m *measures) engineRoot() string {
	if root := m.root.Load(); root != nil {
		return *root
	}
	return ""
}

// here reads this machine; images are where the engine says.
type here struct {
	*measures
	dir string
}

// Read implements machine.Reader.
func (h here) Read() (machine.Figures, error) {
	root := h.engineRoot()
	if root != "" {
		root = filepath.Clean(root)
	}
	return machine.Proc{NodeDir: h.dir, ImageDir: root}.Read()
}

// serve answers the API service over gRPC, and monitoring over HTTPS on the same port.
func (a *Agent) serve(ctx context.Context) error {
	if a.cfg.TLS == nil {
		return a.lis.Close()
	}
	server := transport.NewServer(podserver.GuardUnary, podserver.Guard)
	agentv1.RegisterPodAccessServiceServer(server, podserver.New(a.cfg.Runtime, a.find, dial, a.healthy))
	agentv1.RegisterFiguresServiceServer(server, &usage{rates: a.measures.rates})
	probes := prometheus.NewRegistry()
	if err := probes.Register(probeTotals{a.probes, a.pool}); err != nil {
		return fmt.Errorf("register the metrics of probes: %w", err)
	}
	handler := kubelet.New(kubelet.Config{
		Node: a.cfg.NodeName, Collector: a.measures.collector, Rates: a.measures.rates, Machine: a.measures.machine,
		Own: a.metrics.gatherer(a.cfg.NodeName, kubelet.Claims(a.measures.collector)), Probes: probes, Pods: a.listPods, Healthy: a.healthy,
		Access: kubelet.NewAccess(a.cfg.Client), Log: a.log,
	})
	return server.ServeShared(ctx, a.lis, a.cfg.TLS, transport.HTTPS{Handler: handler, MaxConnections: kubelet.MaxConnections, Log: a.log})
}

// listPods are the node's pods with the newest of their statuses.
func (a *Agent) listPods() []corev1.Pod {
	all := a.pool.All()
	out := make([]corev1.Pod, len(all))
	for i, p := range all {
		out[i] = *p.Spec
		out[i].Status = p.Status
	}
	return out
}

func (a *Agent) healthy() error {
	a.ready.mu.Lock()
	defer a.ready.mu.Unlock()
	return a.ready.engine
}

// usage implements FiguresService.
type usage struct {
	agentv1.UnimplementedFiguresServiceServer
	rates *figures.Rates
}

// Usage implements FiguresService.
func (u *usage) Usage(ctx context.Context, _ *agentv1.UsageRequest) (*agentv1.UsageResponse, error) {
	now, err := u.rates.Now(ctx)
	if err != nil {
		return nil, err
	}
	out := &agentv1.UsageResponse{Time: now.At.UnixNano(), Window: int64(now.Window), Node: inUse(now.Machine)}
	for _, p := range now.Pods {
		pod := &agentv1.PodUsage{Namespace: p.Namespace, Name: p.Name, Uid: p.UID}
		for _, c := range p.Containers {
			pod.Containers = append(pod.Containers, &agentv1.ContainerUsage{Name: c.Name, Usage: inUse(c.Use), Window: int64(c.Window)})
		}
		out.Pods = append(out.Pods, pod)
	}
	return out, nil
}

func inUse(u figures.Use) *agentv1.ResourceUsage {
	return &agentv1.ResourceUsage{CpuNanoCores: int64(u.CPU * float64(time.Second)), MemoryBytes: u.Memory}
}

// learnRoot remembers where the engine keeps its files.
func (a *Agent) learnRoot(info runtime.Info) {
	root := info.Root
	a.measures.root.Store(&root)
}
