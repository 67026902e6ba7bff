package alloc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/store"
)

func portKey(port int32) string { return portPrefix + strconv.Itoa(int(port)) }

func needsNodePorts(s *corev1.ServiceSpec) bool {
	switch s.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return s.AllocateLoadBalancerNodePorts == nil || *s.AllocateLoadBalancerNodePorts
	}
	return false
}

// ports makes sure that a Service has the node ports that its type wants. Those named are reserved first, so that
// none of them is drawn for another.
func (p *plan) ports(s *corev1.Service) {
	path := field.NewPath("spec")
	for i := range s.Spec.Ports {
		if port := s.Spec.Ports[i].NodePort; port != 0 {
			p.askedPort(path.Child("ports").Index(i).Child("nodePort"), port)
		}
	}
	if s.Spec.HealthCheckNodePort != 0 {
		p.askedPort(path.Child("healthCheckNodePort"), s.Spec.HealthCheckNodePort)
	}
	if needsNodePorts(&s.Spec) {
		drawn := map[int32]int32{}
		for i := range s.Spec.Ports {
			port := &s.Spec.Ports[i]
			if port.NodePort != 0 {
				continue
			}
			// One number serves TCP and UDP of the same port.
			if same := drawn[port.Port]; same != 0 && !p.clashes(s, i, same) {
				port.NodePort = same
				continue
			}
			port.NodePort = p.anyPort()
			drawn[port.Port] = port.NodePort
		}
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = p.anyPort()
	}
}

// clashes reports whether another port of the Service has the node port with the same protocol.
func (p *plan) clashes(s *corev1.Service, index int, nodePort int32) bool {
	for i := range s.Spec.Ports {
		if i != index && s.Spec.Ports[i].NodePort == nodePort && s.Spec.Ports[i].Protocol == s.Spec.Ports[index].Protocol {
			return true
		}
	}
	return false
}

func (p *plan) askedPort(path *field.Path, port int32) {
	key := portKey(port)
	r := p.allocator.config.NodePorts
	switch {
	case p.held[key] || p.want[key]:
	case port < r.First || port > r.Last:
		p.bad = append(p.bad, field.Invalid(path, port, fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", r.First, r.Last)))
		return
	case p.taken(key):
		p.bad = append(p.bad, field.Invalid(path, port, "provided port is already allocated"))
		return
	}
	p.reserve(key)
}

// anyPort reserves some free node port, from the upper part of the range while there are any: the lower part is for
// those who ask by name.
func (p *plan) anyPort() int32 {
	if p.err != nil {
		return 0
	}
	used, err := p.usedPorts()
	if err != nil {
		p.fail(err)
		return 0
	}
	r := p.allocator.config.NodePorts
	size := r.Last - r.First + 1
	reserved := min(max(16, size/32), 128)
	if reserved >= size {
		reserved = 0
	}
	start := rand.Int32N(size - reserved)
	for i := range size {
		offset := reserved + (start+i)%(size-reserved)
		if i >= size-reserved {
			offset = i - (size - reserved)
		}
		if port := r.First + offset; !used[port] && !p.want[portKey(port)] {
			p.reserve(portKey(port))
			return port
		}
	}
	p.fail(apierrors.NewInternalError(errors.New("failed to allocate a nodePort: range is full")))
	return 0
}

// usedPorts reads every reservation: there are at most a few thousand, and few Services have node ports.
func (p *plan) usedPorts() (map[int32]bool, error) {
	kvs, _, err := p.allocator.config.Store.List(p.ctx, portPrefix, store.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the node ports in use: %w", err)
	}
	used := make(map[int32]bool, len(kvs))
	for _, kv := range kvs {
		if port, err := strconv.ParseInt(strings.TrimPrefix(kv.Key, portPrefix), 10, 32); err == nil {
			used[int32(port)] = true
		}
	}
	return used, nil
}
