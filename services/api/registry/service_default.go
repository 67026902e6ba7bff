package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/net"
)

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	set(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	set(&spec.Type, corev1.ServiceTypeClusterIP)
	if spec.SessionAffinity == corev1.ServiceAffinityNone {
		spec.SessionAffinityConfig = nil
	} else if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
		timeout := corev1.DefaultClientIPServiceAffinitySeconds
		spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		set(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if isExposed(spec) {
		set(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if spec.InternalTrafficPolicy == nil && hasClusterIP(spec.Type) {
		cluster := corev1.ServiceInternalTrafficPolicyCluster
		spec.InternalTrafficPolicy = &cluster
	}
	if spec.AllocateLoadBalancerNodePorts == nil && spec.Type == corev1.ServiceTypeLoadBalancer {
		yes := true
		spec.AllocateLoadBalancerNodePorts = &yes
	}
	if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

// isExposed: traffic comes in from outside the cluster.
func isExposed(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer ||
		s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0
}

func hasClusterIP(t corev1.ServiceType) bool { return t != corev1.ServiceTypeExternalName }

func hasNodePorts(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer && deref(s.AllocateLoadBalancerNodePorts)
}

// needsHealthPort: load balancers ask a node whether it has an endpoint of its own.
func needsHealthPort(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func isHeadless(s *corev1.ServiceSpec) bool {
	return len(s.ClusterIPs) == 1 && s.ClusterIPs[0] == corev1.ClusterIPNone
}

// defaultFamilies states the address families of a new Service. A cluster has one family; a headless Service without
// a selector is written by hand and may have both.
func defaultFamilies(s *corev1.ServiceSpec) {
	if !hasClusterIP(s.Type) {
		return
	}
	byHand := isHeadless(s) && len(s.Selector) == 0
	if s.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		if byHand {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		s.IPFamilyPolicy = &policy
	}
	if len(s.IPFamilies) > 0 {
		return
	}
	for _, ip := range s.ClusterIPs {
		if net.IsIPv6String(ip) {
			s.IPFamilies = append(s.IPFamilies, corev1.IPv6Protocol)
		} else {
			s.IPFamilies = append(s.IPFamilies, corev1.IPv4Protocol)
		}
	}
	if len(s.ClusterIPs) == 0 {
		s.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if byHand && *s.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		s.IPFamilies = append(s.IPFamilies, corev1.IPv6Protocol)
	}
}

// keepAllocated carries over to an update what the cluster chose and the author of the update did not repeat, and
// drops what the new type has no use for unless the author just set it.
func keepAllocated(s, old *corev1.ServiceSpec) {
	if hasClusterIP(s.Type) && hasClusterIP(old.Type) {
		keepFamilies(s, old)
		if s.ClusterIP == "" {
			s.ClusterIP = old.ClusterIP
		}
		if len(s.ClusterIPs) == 0 && s.ClusterIP == old.ClusterIP {
			s.ClusterIPs = old.ClusterIPs
		}
	}
	// Who changes only the older single field means the list too.
	if s.ClusterIP != old.ClusterIP && len(s.ClusterIPs) > 0 && len(old.ClusterIPs) > 0 && s.ClusterIPs[0] == old.ClusterIPs[0] {
		s.ClusterIPs = nil
		if s.ClusterIP != "" {
			s.ClusterIPs = []string{s.ClusterIP}
		}
	}
	if hasNodePorts(s) && hasNodePorts(old) {
		keepNodePorts(s, old)
	}
	if needsHealthPort(s) && needsHealthPort(old) {
		set(&s.HealthCheckNodePort, old.HealthCheckNodePort)
	}
	dropUnused(s, old)
}

func keepFamilies(s, old *corev1.ServiceSpec) {
	if s.IPFamilyPolicy == nil {
		s.IPFamilyPolicy = old.IPFamilyPolicy
	}
	if len(s.IPFamilies) == 0 {
		s.IPFamilies = old.IPFamilies
	}
}

func keepNodePorts(s, old *corev1.ServiceSpec) {
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	had, used := map[key]int32{}, map[int32]bool{}
	for _, p := range old.Ports {
		had[key{p.Protocol, p.Port}] = p.NodePort
	}
	for _, p := range s.Ports {
		used[p.NodePort] = true
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if was := had[key{p.Protocol, p.Port}]; p.NodePort == 0 && !used[was] {
			p.NodePort = was
		}
	}
}

// dropUnused clears allocations that a change of type leaves without meaning, when they are the old ones.
func dropUnused(s, old *corev1.ServiceSpec) {
	if !hasClusterIP(s.Type) && hasClusterIP(old.Type) {
		if s.ClusterIP == old.ClusterIP {
			s.ClusterIP, s.ClusterIPs = "", nil
		}
		s.IPFamilies, s.IPFamilyPolicy, s.InternalTrafficPolicy = nil, nil, nil
	}
	if hasNodePorts(old) && !hasNodePorts(s) && samePorts(s.Ports, old.Ports) {
		for i := range s.Ports {
			s.Ports[i].NodePort = 0
		}
	}
	if needsHealthPort(old) && !needsHealthPort(s) && s.HealthCheckNodePort == old.HealthCheckNodePort {
		s.HealthCheckNodePort = 0
	}
	if old.Type == corev1.ServiceTypeLoadBalancer && s.Type != old.Type {
		s.AllocateLoadBalancerNodePorts = nil
		if deref(s.LoadBalancerClass) == deref(old.LoadBalancerClass) {
			s.LoadBalancerClass = nil
		}
	}
	if isExposed(old) && !isExposed(s) && s.ExternalTrafficPolicy == old.ExternalTrafficPolicy {
		s.ExternalTrafficPolicy = ""
	}
}

// samePorts says whether no node port was chosen anew.
func samePorts(ports, old []corev1.ServicePort) bool {
	had := map[int32]bool{0: true}
	for _, p := range old {
		had[p.NodePort] = true
	}
	for _, p := range ports {
		if !had[p.NodePort] {
			return false
		}
	}
	return true
}
