// Package node is the node agent: it runs the pods that are assigned to a node on the machine's container engine, and
// reports how they are. Its parts, in the order of a pod's way through it: session (assignments), worker (one a pod,
// deciding with podstate), image, volume, network, runtime, probe, report; podserver answers logs and exec.
//
// Nothing here is global: several nodes run in one process and on one engine, told apart by cluster and node name.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/checkpoint"
	"karve.dev/karve/agents/node/eviction"
	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/network"
	"karve.dev/karve/agents/node/podserver"
	"karve.dev/karve/agents/node/probe"
	"karve.dev/karve/agents/node/report"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/runtime/measured"
	"karve.dev/karve/agents/node/session"
	"karve.dev/karve/agents/node/static"
	"karve.dev/karve/agents/node/volume"
	"karve.dev/karve/agents/node/worker"
	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/turns"
)

// podNetwork is what the agent itself does with the network, beside what workers do.
type podNetwork interface {
	worker.Network
	Setup(ctx context.Context, podCIDR netip.Prefix) error
	SweepPorts() error
	Close()
}

// Agent is one node's agent.
type Agent struct {
	cfg      Config
	owner    runtime.Owner
	log      *zap.Logger
	lis      net.Listener
	network  podNetwork
	images   *image.Manager
	probes   *probe.Manager
	turns    turns.Group
	pool     *worker.Pool
	kept     *checkpoint.Store
	objects  *session.Objects
	pods     *report.Pods
	node     *report.Node
	static   *static.Pods
	metrics  *metrics
	measures *measures
	judge    *eviction.Judge
	folders  *folderKeeper

	ready     readiness
	told      told
	readyOnce sync.Once
	isReady   chan struct{} // closed when the node can run pods for the first time
	podCIDR   atomic.Pointer[netip.Prefix]
	netKeeper turns.Task
	imagesAt  atomic.Pointer[time.Time] // when the engine's images have changed, until that is reported
	imageList turns.Task
}

// WaitReady blocks until the engine has answered and the node's network is up.
func (a *Agent) WaitReady(ctx context.Context) error {
	select {
	case <-a.isReady:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// New returns an agent. It listens already, so that its port is known; Run does the rest.
func New(cfg Config) (*Agent, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(podsDir(cfg.DataDir), 0o755); err != nil {
		return nil, fmt.Errorf("make the node's folder: %w", err)
	}
	lis, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the API service: %w", err)
	}
	a := &Agent{
		cfg: cfg, owner: runtime.Owner{Cluster: cfg.Cluster, Node: cfg.NodeName}, lis: lis,
		log:     cfg.Log.Named("node").With(zap.String("node", cfg.NodeName)),
		kept:    checkpoint.New(keptIn(&cfg), cfg.Log),
		isReady: make(chan struct{}),
	}
	a.probes, a.objects = probe.New(&a.turns), session.NewObjects(a.kept)
	if a.metrics, err = newMetrics(cfg.Metrics, cfg.NodeName, func() *worker.Pool { return a.pool }); err != nil {
		return nil, errors.Join(err, lis.Close())
	}
	if a.cfg.Runtime, err = measured.New(cfg.Runtime, a.metrics.registry); err != nil {
		return nil, errors.Join(fmt.Errorf("register the metrics of the engine: %w", err), lis.Close())
	}
	a.images = a.openImages()
	a.measures = a.newMeasures()
	a.judge = eviction.NewJudge(cfg.Eviction)
	a.network = network.New(network.Config{Cluster: cfg.Cluster, Node: cfg.NodeName, ClusterCIDRs: cfg.ClusterCIDRs, ServiceCIDR: cfg.ServiceCIDR, MTU: cfg.MTU})
	if _, pretends := cfg.Runtime.(runtime.Simulation); pretends {
		a.network = network.NewAddresses()
	}
	a.ready.engine, a.ready.network = errNoContact, errNoCIDR
	a.pods = report.NewPods(&a.turns, cfg.Conn, cfg.NodeName, a.log)
	a.folders = &folderKeeper{
		node: cfg.NodeName, objects: a.objects, folders: foldersOf(cfg.Runtime, volumesDir(cfg.DataDir)),
		rpc: nodev1.NewVolumeServiceClient(cfg.Conn), events: cfg.Events, log: a.log.Named("folders"),
	}
	a.netKeeper.Init(&a.turns, a.keepNetwork)
	a.imageList.Init(&a.turns, a.reportImages)
	want := a.describe()
	a.node = report.NewNode(&a.turns, cfg.Client, want, a.log)
	a.static = static.New(static.Config{
		Dir: cfg.Manifests, Node: cfg.NodeName, Client: cfg.Client, Reporter: a.pods, Self: a.node.Current, Log: a.log,
	})
	workers := a.workerConfig(want.Status.Allocatable)
	workers.Started = a.metrics.started
	a.pool = worker.New(workers)
	return a, nil
}

func (a *Agent) workerConfig(allocatable corev1.ResourceList) worker.Config {
	cfg := worker.Config{
		Turns: &a.turns, Owner: a.owner, Runtime: a.cfg.Runtime, Network: a.network, Images: a.images, Probes: a.probes,
		Volumes: volume.New(podsDir(a.cfg.DataDir), a.objects, &control{client: a.cfg.Client, node: a.node.Current}, a.folders.folders),
		Objects: a.objects, Reporter: a.static, Events: a.cfg.Events, Log: a.log,
		DNS:         worker.DNS{Servers: a.cfg.ClusterDNS, Domain: a.cfg.ClusterDomain},
		Allocatable: allocatable, Node: a.node.Current, UnsafeSysctls: a.cfg.UnsafeSysctls, Logs: a.cfg.Logs, MaxProcesses: a.cfg.MaxProcesses, MinOOMScoreAdj: machine.MinOOMScoreAdj(), SeccompRoot: filepath.Join(a.cfg.DataDir, "seccomp"),
		AppArmor:     machine.AppArmor(),
		RegistryAuth: cmp.Or(a.cfg.RegistryAuth, filepath.Join(a.cfg.DataDir, "config.json")),
	}
	if _, pretends := a.cfg.Runtime.(runtime.Simulation); pretends {
		cfg.Volumes, cfg.AppArmor, cfg.Sleep, cfg.Logs = volume.NewPretending(), true, true, ""
	}
	if a.cfg.ServiceCIDR.IsValid() {
		cfg.APIService = a.cfg.ServiceCIDR.Masked().Addr().Next().String()
	}
	for _, address := range a.cfg.Addresses {
		if address.Type == corev1.NodeInternalIP {
			cfg.HostIPs = append(cfg.HostIPs, address.Address)
		}
	}
	return cfg
}

// Run works until ctx ends, and returns when everything that it started has ended. Containers keep running.
func (a *Agent) Run(ctx context.Context) error {
	defer a.network.Close()
	group, ctx := errgroup.WithContext(ctx)
	a.turns.Begin(ctx)
	session.Heartbeats(&a.turns, a.cfg.HealthConn, a.cfg.NodeName, a.log)
	a.netKeeper.Start()
	a.imageList.Start()
	a.folders.start(&a.turns)
	a.cfg.Logs.Sweep()
	a.static.Read(a.pool) // before the API says which pods there are: these are not among them
	for _, part := range []func(context.Context) error{
		a.kept.Run, a.serve,
		a.keepNode, a.followEngine, a.watchPressure, a.collectImages,
		func(ctx context.Context) error { return a.static.Run(ctx, a.pool) },
	} {
		group.Go(func() error { return part(ctx) })
	}
	told := session.Assignments(ctx, a.cfg.Conn, a.cfg.NodeName, a.objects, a, a.log)
	err := errors.Join(told, group.Wait())
	a.turns.Wait()
	a.probes.Close()
	return err
}

// Port is where PodAccessService listens.
func (a *Agent) Port() int { return a.lis.Addr().(*net.TCPAddr).Port }

// find returns a pod by its name; the API knows a static pod by its mirror.
func (a *Agent) find(namespace, name, uid string) (*podserver.Pod, bool) {
	return a.pool.Find(namespace, name, a.static.Resolve(uid))
}

func dial(ctx context.Context, sandbox *runtime.Container, addr netip.AddrPort) (net.Conn, error) {
	return network.DialIn(ctx, sandbox.PID, addr)
}
