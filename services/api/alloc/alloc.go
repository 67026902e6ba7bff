// Package alloc gives Services their cluster IPs and node ports. A reservation is a key of its own in the store, which
// is written and deleted in the same commit as the Service: two Services can never hold the same address, whichever
// replica of the API made them, and no reservation outlives its Service.
package alloc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/store"
)

// Prefix begins the keys of all reservations.
const Prefix = "/registry/allocations/"

const (
	ipPrefix   = Prefix + "clusterips/"
	portPrefix = Prefix + "nodeports/"
)

// Config makes an Allocator.
type Config struct {
	Store store.Store
	// ClusterIPs are the ranges of Services: one, or one per family, the preferred first.
	ClusterIPs []netip.Prefix
	// NodePorts is the range of node ports, both ends included.
	NodePorts PortRange
	// Used tells whether some Service is known to have the cluster IP. It may be behind: the commit decides. Sync makes
	// it know of every Service that was written or deleted before.
	Used func(ip string) bool
	Sync func(ctx context.Context) error
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last int32 }

// Allocator plans the reservations of Services. It is safe for concurrent use.
type Allocator struct {
	config Config
	ranges map[corev1.IPFamily]ipRange
}

// New returns an allocator.
func New(config Config) (*Allocator, error) {
	a := &Allocator{config: config, ranges: map[corev1.IPFamily]ipRange{}}
	for _, p := range config.ClusterIPs {
		r, err := newIPRange(p)
		if err != nil {
			return nil, err
		}
		if _, twice := a.ranges[familyOf(p.Addr())]; twice {
			return nil, fmt.Errorf("two Service ranges of the same family: %v", config.ClusterIPs)
		}
		a.ranges[familyOf(p.Addr())] = r
	}
	if len(a.ranges) == 0 {
		return nil, errors.New("the allocator needs a Service range")
	}
	if config.NodePorts.First < 1 || config.NodePorts.Last < config.NodePorts.First || config.NodePorts.Last > 65535 {
		return nil, fmt.Errorf("bad range of node ports: %d-%d", config.NodePorts.First, config.NodePorts.Last)
	}
	return a, nil
}

// Plan implements server.Hook: it completes a Service with addresses and ports and returns the ops that reserve them,
// and that release what old does not need any more.
func (a *Allocator) Plan(ctx context.Context, obj, old registry.Object) ([]store.Op, error) {
	p := &plan{allocator: a, ctx: ctx, held: map[string]bool{}, want: map[string]bool{}}
	if before, ok := old.(*corev1.Service); ok && before != nil {
		for _, key := range reservations(before) {
			p.held[key] = true
		}
	}
	svc, ok := obj.(*corev1.Service)
	if ok && svc != nil {
		p.owner = []byte(svc.Namespace + "/" + svc.Name)
		p.addresses(svc)
		p.ports(svc)
		if p.err != nil {
			return nil, p.err
		}
		if len(p.bad) > 0 {
			return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), svc.Name, p.bad)
		}
	}
	return p.ops(), nil
}

// plan is the reservations of one write.
type plan struct {
	allocator *Allocator
	ctx       context.Context
	owner     []byte
	// held are the keys that the stored Service has, want those that the new one needs, in order.
	held, want map[string]bool
	order      []string
	bad        field.ErrorList
	err        error
}

func (p *plan) ops() []store.Op {
	var ops []store.Op
	for _, key := range p.order {
		if !p.held[key] {
			ops = append(ops, store.Op{Key: key, Value: p.owner})
		}
	}
	for key := range p.held {
		if !p.want[key] {
			ops = append(ops, store.Op{Key: key, Expected: -1})
		}
	}
	return ops
}

func (p *plan) reserve(key string) {
	if !p.want[key] {
		p.want[key] = true
		p.order = append(p.order, key)
	}
}

// taken reports whether somebody else holds a key that was asked for by name.
func (p *plan) taken(key string) bool {
	if p.held[key] || p.want[key] {
		return false
	}
	_, err := p.allocator.config.Store.Get(p.ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		p.fail(fmt.Errorf("look up a reservation: %w", err))
	}
	return err == nil
}

func (p *plan) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// reservations are the keys that a stored Service holds.
func reservations(s *corev1.Service) []string {
	var keys []string
	if hasAddress(s) {
		for _, ip := range s.Spec.ClusterIPs {
			keys = append(keys, ipPrefix+ip)
		}
	}
	seen := map[int32]bool{0: true}
	for _, port := range append(nodePorts(s), s.Spec.HealthCheckNodePort) {
		if !seen[port] {
			seen[port] = true
			keys = append(keys, portKey(port))
		}
	}
	return keys
}

func nodePorts(s *corev1.Service) []int32 {
	var out []int32
	for _, p := range s.Spec.Ports {
		out = append(out, p.NodePort)
	}
	return out
}

// hasAddress: neither without a proxy, nor headless.
func hasAddress(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName && !(len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone)
}
