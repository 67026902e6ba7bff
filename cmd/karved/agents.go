package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/admit"
	"karve.dev/karve/agents/node/eviction"
	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/loglink"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/runtime/docker"
	"karve.dev/karve/agents/node/shutdown"
	"karve.dev/karve/agents/proxy"
	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/process"
)

// dataplaneLabel shows on a Node how its Services are balanced.
const dataplaneLabel = "karve.dev/service-dataplane"

// wireAgents makes the two agents of each node on this machine.
func (d *daemon) wireAgents() error {
	for _, name := range d.nodeNames {
		m := d.member(nodeUser(name))
		balancer, err := m.addProxy(name, d.settings)
		if err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
		agent, err := m.addNode(name, d.settings, nodeOptions{
			dataDir: d.dir.Node(name), health: m.conn, runtime: d.runtime, tls: d.identity.ServerTLS(agentSpec(name)), dataplane: balancer.Backend(),
			metrics: d.metrics,
		})
		if err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
		d.agents = append(d.agents, agent)
	}
	d.group.Add(shutdownComponent(func() []*node.Agent { return d.agents }, d.log))
	return nil
}

// addProxy adds a node's proxy agent to the process.
func (m *member) addProxy(name string, s cluster.Settings) (*proxy.Proxy, error) {
	p, err := proxy.New(proxy.Config{
		Cluster: s.Name, NodeName: name, Conn: m.conn, Backend: s.Dataplane,
		ClusterCIDRs: []netip.Prefix{s.ClusterCIDR}, ServiceCIDRs: []netip.Prefix{s.ServiceCIDR},
		DNS:    &proxy.DNSConfig{ClusterIP: serviceAddr(s, 10)},
		Logger: m.log.Named("proxy"), Events: m.recorder("kube-proxy", name),
	})
	if err != nil {
		return nil, err
	}
	m.group.Add(process.Component{Name: "proxy agent of " + name, Run: p.Run, Background: true})
	return p, nil
}

type nodeOptions struct {
	dataDir   string
	health    grpc.ClientConnInterface
	runtime   runtime.Runtime
	tls       *tls.Config
	dataplane string
	metrics   prometheus.Registerer
}

// addNode adds a node's node agent to the process.
func (m *member) addNode(name string, s cluster.Settings, o nodeOptions) (*node.Agent, error) {
	labels := map[string]string{}
	if o.dataplane != "" {
		labels[dataplaneLabel] = o.dataplane
	}
	thresholds, err := eviction.NewConfig(s.Upkeep.EvictionHard, s.Upkeep.EvictionSoft, s.Upkeep.EvictionSoftGrace)
	if err != nil {
		return nil, fmt.Errorf("eviction: %w", err)
	}
	thresholds.MaxGrace = time.Duration(s.Upkeep.EvictionMaxPodGrace) * time.Second
	images := image.Limits{High: s.Upkeep.ImageGCHigh, Low: s.Upkeep.ImageGCLow}
	if err := images.Validate(); err != nil {
		return nil, err
	}
	sysctls, err := admit.ParseSysctls(s.Upkeep.UnsafeSysctls)
	if err != nil {
		return nil, err
	}
	agent, err := node.New(node.Config{
		Cluster: s.Name, NodeName: name, DataDir: o.dataDir, Conn: m.conn, HealthConn: o.health, Client: m.client("kubelet"),
		Runtime: o.runtime, TLS: o.tls, Log: m.log, Events: m.recorder("kubelet", name), Labels: labels,
		ClusterCIDRs: []netip.Prefix{s.ClusterCIDR}, ServiceCIDR: s.ServiceCIDR,
		ClusterDNS: []string{serviceAddr(s, 10).String()}, Metrics: o.metrics,
		Eviction: thresholds, Images: images, UnsafeSysctls: sysctls, Logs: loglink.Usual, MaxProcesses: int64(s.Upkeep.MaxProcesses), RegistryAuth: s.Upkeep.RegistryAuth,
		Shutdown: shutdown.Config{Grace: s.Upkeep.ShutdownGrace.Duration, Critical: s.Upkeep.ShutdownGraceCritical.Duration},
	})
	if err != nil {
		return nil, err
	}
	m.group.Add(process.Component{Name: "node agent of " + name, Run: agent.Run, WaitReady: agent.WaitReady, Background: true})
	return agent, nil
}

// agentSpec is the certificate that an agent serves with: the API checks it for the node's name, monitoring for its
// address.
func agentSpec(name string) identity.Spec {
	user := nodeUser(name)
	return identity.Spec{CommonName: user.Name, Organizations: user.Groups, DNSNames: []string{name}, IPs: addresses(), Both: true}
}

// cleanUp removes everything that the agents of a cluster have made on this machine. None of them may run.
func cleanUp(ctx context.Context, dir cluster.Dir, settings cluster.Settings) error {
	engine, err := docker.New(docker.Config{})
	if err != nil {
		return err
	}
	names, err := settings.NodeNames()
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, node.Cleanup(ctx, engine, settings.Name, name, dir.Node(name)))
	}
	errs = append(errs, proxy.Cleanup(ctx, settings.Name, ""), engine.Close())
	return errors.Join(errs...)
}
