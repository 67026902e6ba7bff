// Package dataplane is the seam between what Services should do and the kernel that does it. A Dataplane takes the
// complete desired state and writes only what differs; package conformance tests every implementation with real
// connections.
package dataplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Dataplane programs Services into the kernel of the node it runs on.
type Dataplane interface {
	// Apply makes the kernel do what state says and nothing else that an earlier Apply, also of an earlier process,
	// asked for. It is idempotent, writes only differences and never interrupts established TCP connections but
	// those to endpoints in Cut. An endpoint that is gone from state gets no new connections: its TCP connections
	// drain, its UDP flows move at once. Where single Services cannot be programmed the error holds a *ServerError
	// for each of them, and all the others are programmed. Not for concurrent use.
	Apply(ctx context.Context, state State) error
	// Maintain does what is due without a change of state (servers that have drained, rules that somebody else
	// removed) and returns when to call it again. Like Apply it is not for concurrent use.
	Maintain(ctx context.Context) (time.Duration, error)
	// Close releases handles and leaves the kernel as it is, so that the next process adopts it.
	Close() error
}

// Identity names the cluster and node that a dataplane works for; what it makes in the kernel is named after it, so
// that several clusters, and several nodes of one cluster, live beside each other on one host.
type Identity struct{ Cluster, Node string }

// Networks are the address ranges that a dataplane tells apart.
type Networks struct {
	// Pods are the ranges that pods of the whole cluster have their addresses from.
	Pods []netip.Prefix
	// Services are the ranges of cluster IPs: what no Service owns there is refused and never leaves the machine.
	Services []netip.Prefix
	// NodePorts limits the addresses on which node ports answer; empty means all of the host's.
	NodePorts []netip.Prefix
}

// State is everything that a node balances.
type State struct {
	// Servers have distinct names and no frontend in common; their order means nothing.
	Servers []VirtualServer
	// LocalPods are the ranges of this node's own pods. Where several nodes share a host, each dataplane serves its
	// own pods before anyone else's does. Empty means Networks.Pods.
	LocalPods []netip.Prefix
	// HostPods are the ranges of the pods of all nodes on this host.
	HostPods []netip.Prefix
}

// Protocol is an IP protocol number.
type Protocol uint8

// The protocols a Service can have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String returns the name that Kubernetes uses.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// ServiceKey names a Service.
type ServiceKey struct{ Namespace, Name string }

// String returns "namespace/name".
func (k ServiceKey) String() string { return k.Namespace + "/" + k.Name }

// VirtualServer is one port of one Service in one address family.
type VirtualServer struct {
	// Name is unique in a State and stays the same while the Service lives: "namespace/name:port/TCP/4".
	Name    string
	Service ServiceKey
	// Protocol of every frontend and endpoint.
	Protocol Protocol
	// IPv6 tells the family of every address in here.
	IPv6 bool
	// Frontends are where connections arrive.
	Frontends []Frontend
	// Endpoints take turns for connections to frontends that are not Local. When there are none, such connections
	// are refused.
	Endpoints []Endpoint
	// LocalEndpoints are the ones on this node, for frontends that are Local. When there are none, but Endpoints
	// are, connections are dropped, so that a load balancer's or client's retry goes elsewhere.
	LocalEndpoints []Endpoint
	// Cut are endpoints that died with their node: connections to them end at once.
	Cut []netip.AddrPort
	// Affinity keeps a client address on its endpoint until it has been silent for this long; 0 means no affinity.
	Affinity time.Duration
}

// Kind is what sort of address a frontend has.
type Kind uint8

// The kinds of frontends.
const (
	// ClusterIP is an address out of Networks.Services.
	ClusterIP Kind = iota
	// NodePort is a port on the host's own addresses; Addr is not set.
	NodePort
	// External is a load balancer's or external IP, routed to the node by others.
	External
)

// Frontend is an address and port that a VirtualServer answers.
type Frontend struct {
	Kind Kind
	Addr netip.Addr
	Port uint16
	// Local sends connections to LocalEndpoints only. With External and NodePort this holds for clients outside
	// the cluster; pods and the node itself reach every endpoint where the dataplane can tell them apart.
	Local bool
}

// Endpoint is a pod's address and port.
type Endpoint struct {
	Addr netip.AddrPort
	// OnHost tells that the endpoint lives in or behind this host's own network namespace, so that answers come
	// back through it and the client's address need not be replaced.
	OnHost bool
}

// Compare orders endpoints by address.
func (e Endpoint) Compare(o Endpoint) int { return e.Addr.Compare(o.Addr) }

// Equal tells whether two virtual servers ask for the same.
func (v *VirtualServer) Equal(o *VirtualServer) bool {
	return v.Name == o.Name && v.Protocol == o.Protocol && v.IPv6 == o.IPv6 && v.Affinity == o.Affinity &&
		slices.Equal(v.Frontends, o.Frontends) && slices.Equal(v.Endpoints, o.Endpoints) &&
		slices.Equal(v.LocalEndpoints, o.LocalEndpoints) && slices.Equal(v.Cut, o.Cut)
}

// Compare orders frontends.
func (f Frontend) Compare(o Frontend) int {
	return cmp.Or(cmp.Compare(f.Kind, o.Kind), f.Addr.Compare(o.Addr), cmp.Compare(f.Port, o.Port))
}

// ServerError tells that one virtual server could not be programmed.
type ServerError struct {
	Server  string
	Service ServiceKey
	Err     error
}

// Error implements error.
func (e *ServerError) Error() string { return e.Server + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ServerError) Unwrap() error { return e.Err }

// ServerErrors collects every *ServerError that err holds.
func ServerErrors(err error) []*ServerError {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*ServerError
		for _, e := range joined.Unwrap() {
			out = append(out, ServerErrors(e)...)
		}
		return out
	}
	var one *ServerError
	if errors.As(err, &one) {
		return []*ServerError{one}
	}
	return nil
}

// ErrLost tells that somebody else removed what was programmed: the complete state must be applied again.
var ErrLost = errors.New("the kernel's Service rules were removed by somebody else")
