// Package desired decides, purely, what a node balances: from Services, EndpointSlices and Nodes to virtual servers.
package desired

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/internal/conditions"
)

// View is what a node knows of its cluster's nodes, and who it is itself.
type View struct {
	Node string
	// Dead are nodes that have stopped answering: their endpoints get nothing and their connections are cut.
	Dead map[string]bool
	// OnHost are the nodes that share this node's host (one of its addresses), itself included.
	OnHost map[string]bool
	// Addresses are the host's own, as its nodes tell.
	Addresses map[netip.Addr]bool
	// LocalPods are the ranges of the node's own pods, HostPods those of all nodes in OnHost.
	LocalPods, HostPods []netip.Prefix
}

// Look makes the view of a node.
func Look(self string, nodes map[string]*corev1.Node) View {
	v := View{Node: self, Dead: map[string]bool{}, OnHost: map[string]bool{self: true}}
	own := map[string]bool{}
	if node := nodes[self]; node != nil {
		own = internalAddresses(node)
		v.LocalPods = podRanges(node)
	}
	for name, node := range nodes {
		if name != self && lost(node) {
			v.Dead[name] = true
		}
		for address := range internalAddresses(node) {
			if own[address] {
				v.OnHost[name] = true
			}
		}
	}
	for name := range v.OnHost {
		if node := nodes[name]; node != nil {
			v.HostPods = append(v.HostPods, podRanges(node)...)
		}
	}
	slices.SortFunc(v.HostPods, netip.Prefix.Compare)
	v.Addresses = map[netip.Addr]bool{}
	for address := range own {
		if a, err := netip.ParseAddr(address); err == nil {
			v.Addresses[a.Unmap()] = true
		}
	}
	return v
}

// onHost tells where an endpoint lives whose slice does not name its node.
func (v View) onHost(a netip.Addr) bool {
	for _, p := range v.HostPods {
		if p.Contains(a) {
			return true
		}
	}
	return v.Addresses[a]
}

// lost tells that a node's heartbeats have stopped. A node that says itself that it is not ready still serves.
func lost(node *corev1.Node) bool {
	c := conditions.Node(node, corev1.NodeReady)
	return c != nil && c.Status == corev1.ConditionUnknown
}

func internalAddresses(node *corev1.Node) map[string]bool {
	out := map[string]bool{}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out[a.Address] = true
		}
	}
	return out
}

func podRanges(node *corev1.Node) []netip.Prefix {
	ranges := node.Spec.PodCIDRs
	if len(ranges) == 0 && node.Spec.PodCIDR != "" {
		ranges = []string{node.Spec.PodCIDR}
	}
	var out []netip.Prefix
	for _, r := range ranges {
		if p, err := netip.ParsePrefix(r); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// Service returns the virtual servers of one Service: one for each of its ports and address families. A Service
// without cluster IP (headless, ExternalName) has none.
func Service(view View, svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice) []dataplane.VirtualServer {
	if svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	var out []dataplane.VirtualServer
	for _, family := range families(svc) {
		for i := range svc.Spec.Ports {
			b := builder{view: view, svc: svc, port: &svc.Spec.Ports[i], slices: endpoints, ipv6: family}
			if v, ok := b.server(); ok {
				out = append(out, v)
			}
		}
	}
	return out
}

// families returns whether IPv6, for each address family that the Service has an address in.
func families(svc *corev1.Service) []bool {
	var out []bool
	for _, ipv6 := range []bool{false, true} {
		for _, ip := range clusterIPs(svc) {
			if ip.Is6() == ipv6 {
				out = append(out, ipv6)
				break
			}
		}
	}
	return out
}

func clusterIPs(svc *corev1.Service) []netip.Addr {
	if len(svc.Spec.ClusterIPs) == 0 {
		return addresses([]string{svc.Spec.ClusterIP})
	}
	return addresses(svc.Spec.ClusterIPs)
}

// addresses parses what is one; IPv4 in IPv6 form counts as IPv4.
func addresses(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}
