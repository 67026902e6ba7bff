package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/runtime/docker"
	"karve.dev/karve/agents/node/runtime/simulated"
	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/process"
	"karve.dev/karve/internal/transport"
)

// role is one part of a cluster as its own process. It calls the API over mTLS with the credentials it is given.
type role struct {
	name, what string
	flags      func(cmd *cobra.Command, o *roleOptions)
	wire       func(p *part, o *roleOptions) error
}

// roleOptions are the flags of all roles; each command has those that its part needs.
type roleOptions struct {
	credentials, api, nodehealth string
	listen, socket               string
	clusterDir                   string
	nodeName, dataDir, runtime   string
	settings                     cluster.Settings
	audit                        bool
	logs                         logOptions
}

// part is such a process.
type part struct {
	role
	credentials *identity.Credentials
	member      *member
	metrics     *prometheus.Registry
	conns       []*grpc.ClientConn
}

// roles are all parts that run as their own process, besides the API, which holds the cluster's keys.
func roles() []role {
	out := []role{
		{"gateway", "Serve the Kubernetes REST API", gatewayFlags, wireGatewayRole},
		{"node", "Run a node's pods", nodeFlags, wireNodeRole},
		{"proxy", "Balance Services on a node", proxyFlags, wireProxyRole},
	}
	for _, s := range services {
		out = append(out, role{s.role, s.what, listenFlag(""), func(p *part, o *roleOptions) error {
			made, err := s.make(p.member, facts{clusterCIDR: o.settings.ClusterCIDR, rootCA: p.credentials.CAPEM()})
			if err != nil {
				return err
			}
			server := transport.NewServer(nil, nil)
			p.member.addService(s.name, made, server)
			p.member.addInformers()
			if len(server.GetServiceInfo()) == 0 {
				return nil
			}
			return p.serve(server, o.listen)
		}})
	}
	return out
}

func listenFlag(fallback string) func(*cobra.Command, *roleOptions) {
	return func(cmd *cobra.Command, o *roleOptions) {
		cmd.Flags().StringVar(&o.listen, "listen", fallback, "host:port to serve on, if the part serves anything")
	}
}

func gatewayFlags(cmd *cobra.Command, o *roleOptions) {
	listenFlag("127.0.0.1:6443")(cmd, o)
	cmd.Flags().BoolVar(&o.audit, "audit", false, "tell the API service what its records of calls need (default: what cluster.json says)")
}

func nodeFlags(cmd *cobra.Command, o *roleOptions) {
	proxyFlags(cmd, o)
	cmd.Flags().StringVar(&o.nodehealth, "nodehealth", "127.0.0.1:7444", "where node health takes heartbeats")
	cmd.Flags().StringVar(&o.dataDir, "data-dir", "", "where the node keeps its data (required)")
	cmd.Flags().StringVar(&o.runtime, "runtime", "docker", "docker, or simulated for nodes that only pretend")
}

func proxyFlags(cmd *cobra.Command, o *roleOptions) {
	cmd.Flags().StringVar(&o.nodeName, "node-name", "", "the node's name (required)")
}

func (r role) command() *cobra.Command {
	o := &roleOptions{}
	cmd := &cobra.Command{
		Use: r.name, Short: r.what, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.credentials, "credentials", "", "directory with ca.crt, tls.crt and tls.key, as karved issue makes it (required)")
	cmd.Flags().StringVar(&o.api, "api", "127.0.0.1:7443", "where the API service serves gRPC")
	cmd.Flags().StringVar(&o.clusterDir, "cluster", "", "directory with the cluster's cluster.json (required)")
	cmd.Flags().StringVar(&o.socket, "debug-socket", "", "unix socket for health, metrics and profiles")
	o.logs.flags(cmd)
	r.flags(cmd, o)
	return cmd
}

func (r role) run(ctx context.Context, o *roleOptions) (err error) {
	log, err := o.logs.logger()
	if err != nil {
		return err
	}
	defer log.Sync() //nolint:errcheck // stderr cannot be synced everywhere
	settings, known, err := cluster.Dir(o.clusterDir).Load()
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("--cluster %q: there is no cluster.json", o.clusterDir)
	}
	o.settings = settings
	p := &part{role: r, metrics: prometheus.NewRegistry()}
	if p.credentials, err = identity.LoadCredentials(o.credentials, credentialName); err != nil {
		return err
	}
	health := process.NewHealth()
	p.member = &member{group: process.NewGroup(health, log), log: log}
	defer func() { err = errors.Join(err, p.close()) }()
	if p.member.conn, err = p.dial(o.api); err != nil {
		return err
	}
	p.member.informers = informer.NewSet(p.member.client("karve-informers"), log.Named("informers"))
	if err := r.wire(p, o); err != nil {
		return err
	}
	if o.socket != "" {
		p.member.group.Add(debugComponent(o.socket, health, p.metrics))
	}
	p.member.group.Add(memoryComponent())
	log.Info("starting", zap.String("part", r.name), zap.String("as", p.credentials.User().Name), zap.Int("pid", os.Getpid()))
	return p.member.group.Run(ctx)
}

func (p *part) dial(addr string) (grpc.ClientConnInterface, error) {
	conn, err := transport.Dial(addr, p.credentials.ClientTLS())
	if err != nil {
		return nil, err
	}
	p.conns = append(p.conns, conn)
	return conn, nil
}

func (p *part) close() error {
	var errs []error
	for _, c := range p.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (p *part) serve(server *transport.Server, listen string) error {
	if listen == "" {
		return fmt.Errorf("give --listen: %s answers over gRPC", p.name)
	}
	lis, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	p.member.group.Add(grpcComponent(server, p.credentials.ServerTLS(), lis))
	return nil
}

func wireGatewayRole(p *part, o *roleOptions) error {
	lis, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen for the REST API: %w", err)
	}
	c, err := gatewayComponent(p.member.conn, p.credentials.ServerTLS(), o.audit || o.settings.Access.Recorded(), p.metrics, p.member.log, func() {}, lis)
	if err != nil {
		return err
	}
	p.member.group.Add(c)
	return nil
}

func wireProxyRole(p *part, o *roleOptions) error {
	_, err := p.member.addProxy(o.nodeName, o.settings)
	return err
}

func wireNodeRole(p *part, o *roleOptions) error {
	if o.nodeName == "" || o.dataDir == "" {
		return errors.New("give --node-name and --data-dir")
	}
	health, err := p.dial(o.nodehealth)
	if err != nil {
		return err
	}
	var engine runtime.Runtime
	switch o.runtime {
	case "docker":
		engine, err = docker.New(docker.Config{})
	case "simulated":
		engine = simulated.New()
	default:
		err = fmt.Errorf("--runtime %q: give docker or simulated", o.runtime)
	}
	if err != nil {
		return err
	}
	agent, err := p.member.addNode(o.nodeName, o.settings, nodeOptions{dataDir: o.dataDir, health: health, runtime: engine, tls: p.credentials.ServerTLS(), metrics: p.metrics})
	if err != nil {
		return err
	}
	p.member.group.Add(shutdownComponent(func() []*node.Agent { return []*node.Agent{agent} }, p.member.log))
	return nil
}
