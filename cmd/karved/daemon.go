package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime/docker"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/identity/kubeconfig"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/process"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/store/etcdstore"
)

// daemon is a whole cluster in one process. Its parts talk over in-process connections, each under its own name.
type daemon struct {
	dir       cluster.Dir
	settings  cluster.Settings
	nodeNames []string
	log       *zap.Logger
	step      func(name string)
	health    *process.Health
	group     *process.Group
	metrics   *prometheus.Registry
	identity  *identity.Cluster
	store     *etcdstore.Store
	runtime   *docker.Runtime
	api       *api.Server
	nodes     *nodeDialer
	server    *transport.Server
	agents    []*node.Agent
	// informers is shared by all services of the process, so that each kind is held once.
	informers *informer.Set
}

func newDaemon(ctx context.Context, dir cluster.Dir, settings cluster.Settings, log *zap.Logger, step func(string)) (*daemon, error) {
	d := &daemon{dir: dir, settings: settings, log: log, step: step, health: process.NewHealth(), metrics: prometheus.NewRegistry()}
	d.group = process.NewGroup(d.health, log)
	var err error
	if d.nodeNames, err = settings.NodeNames(); err != nil {
		return nil, err
	}
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.close())
	}
	for _, wire := range []func() error{d.wireAPI, d.wireGateway, d.wireServices, d.wireAgents, d.wireDebug} {
		if err := wire(); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	return d, nil
}

// open gets what takes time, all at once: the keys, the store, the engine.
func (d *daemon) open(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		d.identity, err = identity.LoadOrCreate(string(d.dir), identityOptions(d.settings))
		if err != nil {
			return err
		}
		d.step("identity")
		return writeKubeconfig(d.dir, d.settings, d.identity)
	})
	g.Go(func() (err error) {
		d.store, err = openStore(ctx, d.dir, d.settings, d.log)
		if err != nil {
			return err
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

// close releases what open got, after everything that uses it has ended.
func (d *daemon) close() error {
	var errs []error
	if d.server != nil {
		d.server.Wait()
		errs = append(errs, d.nodes.close())
	}
	if d.runtime != nil {
		errs = append(errs, d.runtime.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	return errors.Join(errs...)
}

// member is the place of a part that calls the API as user.
func (d *daemon) member(user identity.User) *member {
	return &member{conn: d.server.Conn(user), informers: d.informers, group: d.group, log: d.log}
}

func (d *daemon) wireAPI() error {
	d.nodes = newNodeDialer(d.identity.ClientTLS(apiUser))
	var err error
	d.api, err = newAPI(d.dir, d.settings, d.identity, d.store, d.nodes, d.metrics, d.log, schedulerUser.Name, controllersUser.Name)
	if err != nil {
		return err
	}
	d.server = transport.NewServer(d.api.Interceptors())
	d.api.Register(d.server)
	addStore(d.group, d.store)
	d.group.Add(apiComponent(d.api, func() { d.step("API service") }))
	listeners, err := d.listen(d.settings.GRPCListen)
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	d.group.Add(grpcComponent(d.server, d.identity.ServerTLS(serverNames("karve-api", d.settings)), listeners...))
	return nil
}

// wireServices makes every controller; all share one set of informers.
func (d *daemon) wireServices() error {
	d.informers = informer.NewSet(client.New(d.server.Conn(controllersUser), "karve-informers"), d.log.Named("informers"))
	f := facts{clusterCIDR: d.settings.ClusterCIDR, rootCA: d.identity.CAPEM()}
	for _, s := range services {
		made, err := s.make(d.member(s.user), f)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		d.member(s.user).addService(s.name, made, d.server)
	}
	controllers := d.member(controllersUser)
	controllers.addSigner(d.identity)
	controllers.addInformers()
	return nil
}

// onReady calls fn once, when every node of this process can run pods and the API says so.
func (d *daemon) onReady(fn func()) {
	nodes := informer.For[*corev1.Node](d.informers)
	changed := make(chan struct{}, 1)
	nodes.OnChange(func(_, _ *corev1.Node) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	d.group.Add(process.Component{
		Name: "nodes", Background: true,
		Run: func(ctx context.Context) error { <-ctx.Done(); return nil },
		WaitReady: func(ctx context.Context) error {
			// What the API has of a node may be from before a restart: first the agents themselves.
			for _, a := range d.agents {
				if err := a.WaitReady(ctx); err != nil {
					return err
				}
			}
			for !d.nodesReady(nodes) {
				select {
				case <-changed:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			fn()
			return nil
		},
	})
}

// nodesReady says whether the API has every node of this process as Ready.
func (d *daemon) nodesReady(nodes *informer.Informer[*corev1.Node]) bool {
	for _, name := range d.nodeNames {
		if node, ok := nodes.Get("", name); !ok || !conditions.NodeReady(node) {
			return false
		}
	}
	return true
}

// writeKubeconfig makes the administrator's kubeconfig, with a certificate for a year, anew at each start.
func writeKubeconfig(dir cluster.Dir, settings cluster.Settings, keys *identity.Cluster) error {
	leaf, err := keys.Issue(identity.ClientSpec(adminUser))
	if err != nil {
		return fmt.Errorf("make the administrator's certificate: %w", err)
	}
	return kubeconfig.File{Path: dir.Kubeconfig(), UID: os.Geteuid(), GID: os.Getegid()}.Write(kubeconfig.Entry{
		Name: settings.Name, Server: "https://" + dialable(settings.Listen), CA: keys.CAPEM(), Cert: leaf.CertPEM, Key: leaf.KeyPEM,
	})
}
