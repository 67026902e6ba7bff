package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"karve.dev/karve/agents/node/runtime/docker"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/identity/kubeconfig"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/process"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/openapi"
	"karve.dev/karve/services/api/store/etcdstore"
)

// daemon is a whole cluster in one process. Its parts talk over in-process connections, each under its own name.
type daemon struct {
	dir      cluster.Dir
	settings cluster.Settings
	log      *zap.Logger
	step     func(name string)
	health   *process.Health
	group    *process.Group
	metrics  *prometheus.Registry
	identity *identity.Cluster
	store    *etcdstore.Store
	runtime  *docker.Runtime
	api      *api.Server
	nodes    *nodeDialer
	server   *transport.Server
	nodeNames []string
	// informers is shared by all services of the process, so that each kind is held once.
	informers *informer.Set
}

func newDaemon(ctx context.Context, dir cluster.Dir, settings cluster.Settings, log *zap.Logger, step func(string)) (*daemon, error) {
	d := &daemon{dir: dir, settings: settings, log: log, step: step, health: process.NewHealth(), metrics: prometheus.NewRegistry()}
	d.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d.group = process.NewGroup(d.health, log)
	var err error
	if d.nodeNames, err = settings.NodeNames(); err != nil {
		return nil, err
	}
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	for _, wire := range []func() error{d.wireAPI, d.wireGateway, d.wireServices, d.wireAgents, d.wireDebug} {
		if err := wire(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// open gets what takes time, all at once: the keys, the store, the engine.
func (d *daemon) open(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		d.identity, err = identity.LoadOrCreate(string(d.dir), identity.Options{Name: d.settings.Name})
		if err != nil {
			return err
		}
		d.step("identity")
		return d.writeKubeconfig()
	})
	g.Go(func() (err error) {
		d.store, err = etcdstore.Open(ctx, etcdstore.Config{Name: d.settings.Name, DataDir: d.dir.Etcd(), Log: d.log.Named("etcd")})
		if err != nil {
			return fmt.Errorf("start etcd: %w", err)
		}
		d.step("etcd")
		return nil
	})
	g.Go(func() (err error) {
		if d.runtime, err = docker.New(docker.Config{}); err != nil {
			return err
		}
		if _, err := d.runtime.Info(ctx); err != nil {
			return err
		}
		d.step("Docker Engine")
		return nil
	})
	return g.Wait()
}

func (d *daemon) close() error {
	d.server.Wait()
	return errors.Join(d.nodes.close(), d.runtime.Close(), d.store.Close())
}

// client returns a client of the API under a user's name.
func (d *daemon) client(user identity.User, manager string) *client.Client {
	return client.New(d.server.Conn(user), manager)
}

// recorder returns an event recorder for a part and runs it with the process.
func (d *daemon) recorder(user identity.User, component, node string) *events.Recorder {
	r := events.New(d.client(user, component), component, node, d.log)
	name := "events of " + component
	if node != "" {
		name += " on " + node
	}
	d.group.Add(process.Component{Name: name, Run: r.Run, Background: true})
	return r
}

func (d *daemon) wireAPI() error {
	advertise, err := d.advertise()
	if err != nil {
		return err
	}
	d.nodes = newNodeDialer(d.identity.ClientTLS(apiUser))
	d.api, err = api.New(api.Config{
		Store: d.store, EncryptionKeys: d.dir.EncryptionKeys(), Tokens: d.identity.Tokens, OpenAPI: openapi.Document, Nodes: d.nodes,
		ServiceCIDRs: []netip.Prefix{d.settings.ServiceCIDR}, Advertise: advertise,
		Metrics: d.metrics, Gatherer: d.metrics, Log: d.log.Named("api"),
	})
	if err != nil {
		return err
	}
	d.server = transport.NewServer(d.api.Interceptors())
	d.api.Register(d.server)
	d.group.Add(process.Component{Name: "api", Run: d.api.Run, WaitReady: func(ctx context.Context) error {
		select {
		case <-d.api.Ready():
			d.step("API service")
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	lis, err := net.Listen("tcp", d.settings.GRPCListen)
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	tls := d.identity.ServerTLS(d.serverNames("karve-api"))
	d.group.Add(process.Component{Name: "gRPC listener", Run: func(ctx context.Context) error { return d.server.Serve(ctx, lis, tls) }, Background: true})
	return nil
}

// serverNames are what the API is called: from this machine, and from pods.
func (d *daemon) serverNames(commonName string) identity.Spec {
	spec := identity.Spec{
		CommonName: commonName,
		DNSNames:   []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPs:        []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, d.serviceAddr(1).AsSlice()},
	}
	if host, err := os.Hostname(); err == nil {
		spec.DNSNames = append(spec.DNSNames, host)
	}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsLoopback() {
				spec.IPs = append(spec.IPs, p.Addr().AsSlice())
			}
		}
	}
	return spec
}

// serviceAddr returns the n-th address of the Service range: 1 is the API's, 10 the DNS'.
func (d *daemon) serviceAddr(n int) netip.Addr {
	a := d.settings.ServiceCIDR.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// writeKubeconfig makes the administrator's kubeconfig, with a certificate for a year, anew at each start.
func (d *daemon) writeKubeconfig() error {
	leaf, err := d.identity.Issue(identity.ClientSpec(identity.User{Name: "kubernetes-admin", Groups: []string{identity.GroupMasters}}))
	if err != nil {
		return fmt.Errorf("make the administrator's certificate: %w", err)
	}
	return kubeconfig.File{Path: d.dir.Kubeconfig(), UID: os.Geteuid(), GID: os.Getegid()}.Write(kubeconfig.Entry{
		Name: d.settings.Name, Server: "https://" + dialable(d.settings.Listen), CA: d.identity.CAPEM(), Cert: leaf.CertPEM, Key: leaf.KeyPEM,
	})
}

// dialable turns "every address" into one that clients on this machine can dial.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
