package main

import (
	"context"
	"fmt"
	"net"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/process"
	"karve.dev/karve/internal/version"
	"karve.dev/karve/services/gateway"
	"karve.dev/karve/services/lifecycle"
	"karve.dev/karve/services/network"
	"karve.dev/karve/services/nodehealth"
	"karve.dev/karve/services/replication"
	"karve.dev/karve/services/scheduler"
)

// The names under which Karve's own parts call the API.
var (
	schedulerUser   = identity.User{Name: identity.UserScheduler}
	controllersUser = identity.User{Name: identity.UserControllers}
	gatewayUser     = identity.User{Name: identity.UserGateway}
	apiUser         = identity.User{Name: identity.UserAPI, Groups: []string{identity.GroupMasters}}
)

// nodeUser is the name of a node's agents.
func nodeUser(node string) identity.User {
	return identity.User{Name: identity.NodePrefix + node, Groups: []string{identity.GroupNodes}}
}

func (d *daemon) wireGateway() error {
	lis, err := net.Listen("tcp", d.settings.Listen)
	if err != nil {
		return fmt.Errorf("listen for the REST API: %w", err)
	}
	listeners := []net.Listener{lis}
	if _, port, err := net.SplitHostPort(d.settings.Listen); err == nil && onLoopback(d.settings.Listen) {
		inside, err := listenAhead(net.JoinHostPort(d.insideAddr().String(), port))
		if err != nil {
			return fmt.Errorf("listen for the REST API, for pods: %w", err)
		}
		listeners = append(listeners, inside)
	}
	g, err := gateway.New(gateway.Config{
		API: d.server.Conn(gatewayUser), TLS: d.identity.ServerTLS(d.serverNames("karve-gateway")),
		Version: version.Info(), Metrics: d.metrics, Logger: d.log.Named("gateway"),
	})
	if err != nil {
		return err
	}
	d.group.Add(process.Component{
		Name: "gateway", Background: true,
		Run: func(ctx context.Context) error { return g.Serve(ctx, listeners...) },
		WaitReady: func(ctx context.Context) error {
			if err := g.WaitReady(ctx); err != nil {
				return err
			}
			d.step("REST API")
			return nil
		},
	})
	return nil
}

// wireServices makes every controller; all share one set of informers.
func (d *daemon) wireServices() error {
	d.informers = informer.NewSet(d.client(controllersUser, "karve-informers"), d.log.Named("informers"))
	log := func(name string) *zap.Logger { return d.log.Named(name) }

	sched := scheduler.New(scheduler.Config{
		Client: d.client(schedulerUser, "kube-scheduler"), Informers: d.informers, Logger: log("scheduler"),
		Events: d.recorder(schedulerUser, "default-scheduler", ""),
	})
	sched.Register(d.server)
	health := nodehealth.New(nodehealth.Config{
		Client: d.client(controllersUser, "node-health"), Informers: d.informers, Logger: log("nodehealth"),
		Events: d.recorder(controllersUser, "node-controller", ""),
	})
	health.Register(d.server)
	workloads := replication.New(replication.Config{
		Client: d.client(controllersUser, "replication"), Informers: d.informers, Logger: log("replication"),
		Events: d.recorder(controllersUser, "replication", ""),
	})
	cluster, err := lifecycle.New(lifecycle.Config{
		Client: d.client(controllersUser, "lifecycle"), Conn: d.server.Conn(controllersUser), Informers: d.informers,
		RootCA: d.identity.CAPEM(), Log: d.log,
	})
	if err != nil {
		return err
	}
	networking, err := network.New(network.Config{
		Client: d.client(controllersUser, "network"), Informers: d.informers, Logger: d.log,
		Events: d.recorder(controllersUser, "network", ""), ClusterCIDR: d.settings.ClusterCIDR,
	})
	if err != nil {
		return err
	}

	services := []process.Component{
		{Name: "scheduler", Run: sched.Run},
		{Name: "node health", Run: health.Run},
		{Name: "replication", Run: workloads.Run},
		{Name: "network", Run: networking.Run},
		{Name: "lifecycle", Run: cluster.Run},
	}
	d.group.Add(process.Component{Name: "informers", Run: d.informers.Run, WaitReady: d.informers.WaitSynced, Background: true})
	for _, s := range services {
		s.Background = true
		d.group.Add(s)
	}
	return nil
}

// onReady calls fn once, when every node of this process is Ready.
func (d *daemon) onReady(fn func()) {
	nodes := informer.For[*corev1.Node](d.informers)
	left := map[string]bool{}
	for _, name := range d.nodeNames {
		left[name] = true
	}
	nodes.OnChange(func(_, node *corev1.Node) {
		if node == nil || !left[node.Name] || !nodeReady(node) {
			return
		}
		if delete(left, node.Name); len(left) == 0 {
			fn()
		}
	})
}

func nodeReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
