package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime/docker"
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
		if err := d.wireNode(name); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return nil
}

func (d *daemon) wireNode(name string) error {
	user := nodeUser(name)
	conn := d.server.Conn(user)
	balancer, err := proxy.New(proxy.Config{
		Cluster: d.settings.Name, NodeName: name, Conn: conn, Backend: d.settings.Dataplane,
		ClusterCIDRs: []netip.Prefix{d.settings.ClusterCIDR}, ServiceCIDRs: []netip.Prefix{d.settings.ServiceCIDR},
		Logger: d.log.Named("proxy"), Events: d.recorder(user, "kube-proxy", name),
	})
	if err != nil {
		return err
	}
	agent, err := node.New(node.Config{
		Cluster: d.settings.Name, NodeName: name, DataDir: d.dir.Node(name), Conn: conn, HealthConn: conn,
		Client: d.client(user, "kubelet"), Runtime: d.runtime, TLS: agentTLS(d.identity, name), Log: d.log,
		Events: d.recorder(user, "kubelet", name), Labels: map[string]string{dataplaneLabel: balancer.Backend()},
		ClusterCIDRs: []netip.Prefix{d.settings.ClusterCIDR}, ServiceCIDR: d.settings.ServiceCIDR,
	})
	if err != nil {
		return err
	}
	d.group.Add(process.Component{Name: "node agent of " + name, Run: agent.Run, Background: true})
	d.group.Add(process.Component{Name: "proxy agent of " + name, Run: balancer.Run, Background: true})
	return nil
}

// agentTLS is what an agent serves with: under the node's name, to holders of the cluster's certificates only.
func agentTLS(keys *identity.Cluster, name string) *tls.Config {
	user := nodeUser(name)
	config := keys.ServerTLS(identity.Spec{CommonName: user.Name, Organizations: user.Groups, DNSNames: []string{name}})
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config
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
