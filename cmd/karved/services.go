package main

import (
	"context"
	"net/netip"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/process"
	"karve.dev/karve/services/lifecycle"
	"karve.dev/karve/services/lifecycle/certificates"
	"karve.dev/karve/services/network"
	"karve.dev/karve/services/nodehealth"
	"karve.dev/karve/services/replication"
	"karve.dev/karve/services/scheduler"
	"karve.dev/karve/services/storage"
)

// The names under which Karve's own parts call the API.
var (
	adminUser       = identity.User{Name: "kubernetes-admin", Groups: []string{identity.GroupMasters}}
	schedulerUser   = identity.User{Name: identity.UserScheduler}
	controllersUser = identity.User{Name: identity.UserControllers}
	gatewayUser     = identity.User{Name: identity.UserGateway}
	apiUser         = identity.User{Name: identity.UserAPI, Groups: []string{identity.GroupMasters}}
)

// nodeUser is the name of a node's agents.
func nodeUser(node string) identity.User {
	return identity.User{Name: identity.NodePrefix + node, Groups: []string{identity.GroupNodes}}
}

// member is a part's place in a process: how it reaches the API under its own name, and what it shares with the
// process's other parts.
type member struct {
	conn      grpc.ClientConnInterface
	informers *informer.Set
	group     *process.Group
	log       *zap.Logger
}

func (m *member) client(manager string) *client.Client { return client.New(m.conn, manager) }

// recorder returns an event recorder for a part and runs it with the process.
func (m *member) recorder(component, node string) *events.Recorder {
	r := events.New(m.client(component), component, node, m.log)
	name := "events of " + component
	if node != "" {
		name += " on " + node
	}
	m.group.Add(process.Component{Name: name, Run: r.Run, Background: true})
	return r
}

// facts are what services must be told of their cluster.
type facts struct {
	clusterCIDR netip.Prefix
	rootCA      []byte
}

// service is one part of the control plane that is a client of the API.
type service interface {
	Run(ctx context.Context) error
}

// answerer is a service with gRPC methods of its own.
type answerer interface {
	Register(r grpc.ServiceRegistrar)
}

// services are the parts of the control plane besides API and gateway, in the order of their start. A role is the name
// of the command that runs one as its own process.
var services = []struct {
	name, role, what string
	user             identity.User
	make             func(m *member, f facts) (service, error)
}{
	{"scheduler", "scheduler", "Give pods their nodes", schedulerUser, func(m *member, _ facts) (service, error) {
		return scheduler.New(scheduler.Config{
			Client: m.client("kube-scheduler"), Informers: m.informers, Logger: m.log.Named("scheduler"), Events: m.recorder("default-scheduler", ""),
		}), nil
	}},
	{"node health", "nodehealth", "Watch over nodes: heartbeats, taints, evictions", controllersUser, func(m *member, _ facts) (service, error) {
		return nodehealth.New(nodehealth.Config{
			Client: m.client("node-health"), Informers: m.informers, Logger: m.log.Named("nodehealth"), Events: m.recorder("node-controller", ""),
		}), nil
	}},
	{"replication", "replication", "Run the workload controllers", controllersUser, func(m *member, _ facts) (service, error) {
		return replication.New(replication.Config{
			Client: m.client("replication"), Informers: m.informers, Logger: m.log, Events: m.recorder("replication", ""),
		}), nil
	}},
	{"network", "network", "Keep endpoints and hand out pod ranges", controllersUser, func(m *member, f facts) (service, error) {
		return network.New(network.Config{
			Client: m.client("network"), Informers: m.informers, Logger: m.log, Events: m.recorder("network", ""), ClusterCIDR: f.clusterCIDR,
		})
	}},
	{"storage", "storage", "Bind claims to volumes, make and reclaim volumes", controllersUser, func(m *member, _ facts) (service, error) {
		return storage.New(storage.Config{
			Client: m.client("storage"), Informers: m.informers, Logger: m.log, Events: m.recorder("storage", ""),
		}), nil
	}},
	{"lifecycle", "lifecycle", "Look after namespaces, garbage and default accounts", controllersUser, func(m *member, f facts) (service, error) {
		return lifecycle.New(lifecycle.Config{
			Client: m.client("lifecycle"), Conn: m.conn, Informers: m.informers, RootCA: f.rootCA, Log: m.log,
		})
	}},
}

// addService adds a service to the process; its methods, if it has any, go to r.
func (m *member) addService(name string, s service, r grpc.ServiceRegistrar) {
	if a, ok := s.(answerer); ok {
		a.Register(r)
	}
	m.group.Add(process.Component{Name: name, Run: s.Run, Background: true})
}

// addSigner adds what makes the certificates that people and nodes ask for. It runs where the cluster's keys are.
func (m *member) addSigner(keys *identity.Cluster) {
	signer := certificates.NewSigner(m.client("certificate-signer"), m.informers, keys, m.log)
	m.group.Add(process.Component{Name: "certificate signer", Run: signer.Run, Background: true})
}

// addInformers adds the process's informers: after all services have said what they read, before they run.
func (m *member) addInformers() {
	m.group.Add(process.Component{Name: "informers", Run: m.informers.Run, WaitReady: m.informers.WaitSynced, Background: true})
}
