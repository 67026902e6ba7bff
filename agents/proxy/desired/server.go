package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"karve.dev/karve/agents/proxy/dataplane"
)

// builder makes one virtual server.
type builder struct {
	view   View
	svc    *corev1.Service
	port   *corev1.ServicePort
	slices []*discoveryv1.EndpointSlice
	ipv6   bool
}

var protocols = map[corev1.Protocol]dataplane.Protocol{
	"":                  dataplane.TCP,
	corev1.ProtocolTCP:  dataplane.TCP,
	corev1.ProtocolUDP:  dataplane.UDP,
	corev1.ProtocolSCTP: dataplane.SCTP,
}

func (b *builder) server() (dataplane.VirtualServer, bool) {
	protocol, ok := protocols[b.port.Protocol]
	if !ok {
		return dataplane.VirtualServer{}, false
	}
	v := dataplane.VirtualServer{
		Name:     b.name(protocol),
		Service:  dataplane.ServiceKey{Namespace: b.svc.Namespace, Name: b.svc.Name},
		Protocol: protocol,
		IPv6:     b.ipv6,
		Affinity: affinity(b.svc),
	}
	v.Frontends = b.frontends()
	all, cut := b.candidates()
	v.Endpoints = usable(all, false)
	v.Cut = cut
	if slices.ContainsFunc(v.Frontends, func(f dataplane.Frontend) bool { return f.Local }) {
		v.LocalEndpoints = usable(all, true)
	}
	return v, len(v.Frontends) > 0
}

func (b *builder) name(protocol dataplane.Protocol) string {
	family := "4"
	if b.ipv6 {
		family = "6"
	}
	port := b.port.Name
	if port == "" {
		port = fmt.Sprint(b.port.Port)
	}
	return b.svc.Namespace + "/" + b.svc.Name + ":" + port + "/" + protocol.String() + "/" + family
}

func affinity(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := int32(corev1.DefaultClientIPServiceAffinitySeconds)
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

func (b *builder) frontends() []dataplane.Frontend {
	internal := b.svc.Spec.InternalTrafficPolicy != nil && *b.svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	external := b.svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	port := uint16(b.port.Port)
	var out []dataplane.Frontend
	for _, ip := range clusterIPs(b.svc) {
		if ip.Is6() == b.ipv6 {
			out = append(out, dataplane.Frontend{Kind: dataplane.ClusterIP, Addr: ip, Port: port, Local: internal})
		}
	}
	if b.port.NodePort != 0 {
		out = append(out, dataplane.Frontend{Kind: dataplane.NodePort, Port: uint16(b.port.NodePort), Local: external})
	}
	for _, ip := range b.externalAddresses() {
		f := dataplane.Frontend{Kind: dataplane.External, Addr: ip, Port: port, Local: external}
		if ip.Is6() == b.ipv6 && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// externalAddresses are those that others route to this node and that it must answer itself. A load balancer that
// works as a proxy (ipMode Proxy) wants its traffic to pass through it.
func (b *builder) externalAddresses() []netip.Addr {
	texts := slices.Clone(b.svc.Spec.ExternalIPs)
	for _, in := range b.svc.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			texts = append(texts, in.IP)
		}
	}
	return addresses(texts)
}

// candidate is an endpoint that might be sent to.
type candidate struct {
	endpoint dataplane.Endpoint
	local    bool
	ready    bool // takes new connections
	fallback bool // is going, but still serves
}

// candidates lists the endpoints of the port in the address family, and those that died with their node.
func (b *builder) candidates() (all []candidate, dead []netip.AddrPort) {
	kind := discoveryv1.AddressTypeIPv4
	if b.ipv6 {
		kind = discoveryv1.AddressTypeIPv6
	}
	for _, slice := range b.slices {
		port := b.targetPort(slice)
		if slice.AddressType != kind || port == 0 {
			continue
		}
		for i := range slice.Endpoints {
			ep := &slice.Endpoints[i]
			if len(ep.Addresses) == 0 {
				continue
			}
			addr, err := netip.ParseAddr(ep.Addresses[0])
			if err != nil {
				continue
			}
			target := netip.AddrPortFrom(addr.Unmap(), port)
			if ep.NodeName != nil && b.view.Dead[*ep.NodeName] {
				dead = append(dead, target)
				continue
			}
			all = append(all, b.candidate(ep, target))
		}
	}
	slices.SortFunc(dead, netip.AddrPort.Compare)
	return all, slices.Compact(dead)
}

func (b *builder) candidate(ep *discoveryv1.Endpoint, target netip.AddrPort) candidate {
	c := candidate{endpoint: dataplane.Endpoint{Addr: target, OnHost: b.view.onHost(target.Addr())}}
	if ep.NodeName != nil {
		c.local = *ep.NodeName == b.view.Node
		c.endpoint.OnHost = b.view.OnHost[*ep.NodeName]
	}
	terminating := ep.Conditions.Terminating != nil && *ep.Conditions.Terminating
	c.ready = ep.Conditions.Ready == nil || *ep.Conditions.Ready
	serving := c.ready
	if ep.Conditions.Serving != nil {
		serving = *ep.Conditions.Serving
	}
	c.fallback = serving && terminating
	return c
}

// targetPort finds the port of a slice that belongs to the Service's port; 0 when there is none.
func (b *builder) targetPort(slice *discoveryv1.EndpointSlice) uint16 {
	for _, p := range slice.Ports {
		name, protocol := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if name == b.port.Name && protocols[protocol] == protocols[b.port.Protocol] && p.Port != nil {
			return uint16(*p.Port)
		}
	}
	return 0
}

// usable chooses the endpoints that take connections: the ready ones; where there are none, those that are going but
// still serve, since a late answer is better than none. An endpoint that several slices name counts once.
func usable(all []candidate, localOnly bool) []dataplane.Endpoint {
	pick := func(want func(candidate) bool) []dataplane.Endpoint {
		var out []dataplane.Endpoint
		for _, c := range all {
			if want(c) && (c.local || !localOnly) {
				out = append(out, c.endpoint)
			}
		}
		slices.SortFunc(out, dataplane.Endpoint.Compare)
		return slices.CompactFunc(out, func(a, b dataplane.Endpoint) bool { return a.Addr == b.Addr })
	}
	if ready := pick(func(c candidate) bool { return c.ready }); len(ready) > 0 {
		return ready
	}
	return pick(func(c candidate) bool { return c.fallback })
}
