package registry

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// serviceName: a Service's name is a DNS label.
func serviceName(name string, prefix bool) []string {
	return validation.NameIsDNSLabel(name, prefix)
}

func validateService(svc *corev1.Service) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &svc.Spec
	if len(s.Ports) == 0 && !isHeadless(s) && s.Type != corev1.ServiceTypeExternalName {
		e.Required(p.Child("ports"), "")
	}
	validateServiceType(&e, p, s)
	validateServicePorts(&e, p.Child("ports"), s)
	e.Add(metavalidation.ValidateLabels(s.Selector, p.Child("selector"))...)
	validateAffinity(&e, p, s)
	validateClusterIPs(&e, p, s)
	for i, ip := range s.ExternalIPs {
		e.EndpointIP(p.Child("externalIPs").Index(i), ip)
	}
	check.OneOf(&e, p.Child("type"), s.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	validateLoadBalancer(&e, p, s)
	validateTraffic(&e, p, s)
	return e.List()
}

func validateServiceType(e *check.Errors, p *field.Path, s *corev1.ServiceSpec) {
	const nodeAgentPort = 10250
	switch s.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if s.Type == corev1.ServiceTypeLoadBalancer {
			for i, port := range s.Ports {
				e.If(port.Port == nodeAgentPort, p.Child("ports").Index(i), port.Port, fmt.Sprintf("may not expose port %d externally since it is used by kubelet", nodeAgentPort))
			}
		}
		if isHeadless(s) {
			e.Invalid(p.Child("clusterIPs").Index(0), s.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", s.Type))
		}
	case corev1.ServiceTypeExternalName:
		if len(s.ClusterIPs) > 0 {
			e.Forbidden(p.Child("clusterIPs"), "may not be set for ExternalName services")
		}
		// A dot at the end says that the name is complete.
		if name := strings.TrimSuffix(s.ExternalName, "."); e.NotEmpty(p.Child("externalName"), name) {
			e.Subdomain(p.Child("externalName"), name)
		}
	}
}

func validateServicePorts(e *check.Errors, p *field.Path, s *corev1.ServiceSpec) {
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	names, ports, nodePorts := map[string]bool{}, map[key]bool{}, map[key]bool{}
	for i := range s.Ports {
		port, at := &s.Ports[i], p.Index(i)
		switch {
		case port.Name == "" && len(s.Ports) > 1:
			e.Required(at.Child("name"), "")
		case port.Name != "":
			e.Label(at.Child("name"), port.Name)
			if names[port.Name] {
				e.Duplicate(at.Child("name"), port.Name)
			}
			names[port.Name] = true
		}
		e.Port(at.Child("port"), port.Port)
		check.OneOf(e, at.Child("protocol"), port.Protocol, protocols...)
		e.PortOrName(at.Child("targetPort"), port.TargetPort)
		if port.AppProtocol != nil {
			e.Qualified(at.Child("appProtocol"), *port.AppProtocol)
		}
	}
	for i := range s.Ports {
		port := &s.Ports[i]
		k := key{port.Protocol, port.NodePort}
		validateNodePort(e, p.Index(i).Child("nodePort"), s, port, nodePorts[k])
		nodePorts[k] = true
	}
	for i := range s.Ports {
		k := key{s.Ports[i].Protocol, s.Ports[i].Port}
		if ports[k] {
			e.Duplicate(p.Index(i), samePort{Protocol: k.protocol, Port: k.port})
		}
		ports[k] = true
	}
}

// samePort is how Kubernetes' texts show a port that was there already.
type samePort struct {
	Name        string
	Protocol    corev1.Protocol
	AppProtocol *string
	Port        int32
	TargetPort  intstr.IntOrString
	NodePort    int32
}

func validateNodePort(e *check.Errors, p *field.Path, s *corev1.ServiceSpec, port *corev1.ServicePort, taken bool) {
	switch {
	case port.NodePort == 0:
	case s.Type == corev1.ServiceTypeClusterIP:
		e.Forbidden(p, "may not be used when `type` is 'ClusterIP'")
	case s.Type == corev1.ServiceTypeExternalName:
		e.Forbidden(p, "may not be used when `type` is 'ExternalName'")
	case taken:
		e.Duplicate(p, port.NodePort)
	default:
		e.Port(p, port.NodePort)
	}
}

func validateAffinity(e *check.Errors, p *field.Path, s *corev1.ServiceSpec) {
	const day = 86400
	check.OneOf(e, p.Child("sessionAffinity"), s.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	at := p.Child("sessionAffinityConfig")
	switch s.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if s.SessionAffinityConfig != nil {
			e.Forbidden(at, "must not be set when session affinity is None")
		}
	case corev1.ServiceAffinityClientIP:
		if c := s.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			e.Required(at, "when session affinity type is ClientIP")
		} else if t := *c.ClientIP.TimeoutSeconds; t <= 0 || t > day {
			e.Invalid(at.Child("clientIP", "timeoutSeconds"), t, fmt.Sprintf("must be greater than 0 and less than %d", day))
		}
	}
}

func validateClusterIPs(e *check.Errors, p *field.Path, s *corev1.ServiceSpec) {
	const families = 2
	ips := p.Child("clusterIPs")
	if s.Type == corev1.ServiceTypeExternalName {
		if len(s.IPFamilies) > 0 {
			e.Forbidden(p.Child("ipFamilies"), "may not be set for ExternalName services")
		}
		if s.IPFamilyPolicy != nil {
			e.Forbidden(p.Child("ipFamilyPolicy"), "may not be set for ExternalName services")
		}
		return
	}
	switch {
	case len(s.ClusterIPs) > 0 && s.ClusterIP == "":
		e.Required(p.Child("clusterIP"), "must be set when `clusterIPs` is set")
	case len(s.ClusterIPs) > 0 && s.ClusterIPs[0] != s.ClusterIP:
		e.Invalid(ips, s.ClusterIPs, "first value must match `clusterIP`")
	}
	if s.IPFamilyPolicy != nil {
		check.Among(e, p.Child("ipFamilyPolicy"), *s.IPFamilyPolicy, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)
	}
	if len(s.IPFamilies) > families {
		e.Add(field.TooMany(p.Child("ipFamilies"), len(s.IPFamilies), families))
	}
	for i, f := range s.IPFamilies {
		at := p.Child("ipFamilies").Index(i)
		check.Among(e, at, f, corev1.IPv4Protocol, corev1.IPv6Protocol)
		if slices.Contains(s.IPFamilies[:i], f) {
			e.Duplicate(at, f)
		}
	}
	if len(s.ClusterIPs) > families {
		e.Invalid(ips, s.ClusterIPs, "may only hold up to 2 values")
	}
	for i, ip := range s.ClusterIPs {
		switch at := ips.Index(i); {
		case ip == corev1.ClusterIPNone && len(s.ClusterIPs) > 1:
			e.Invalid(at, ip, "'None' must be the first and only value")
		case ip != corev1.ClusterIPNone && e.IP(at, ip) && i < len(s.IPFamilies) && hasFamily(ip) != s.IPFamilies[i]:
			e.Invalid(at, ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", s.IPFamilies[i], i))
		}
	}
}

func hasFamily(ip string) corev1.IPFamily {
	if strings.Contains(ip, ":") {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func validateLoadBalancer(e *check.Errors, p *field.Path, s *corev1.ServiceSpec) {
	balanced := s.Type == corev1.ServiceTypeLoadBalancer
	ranges := p.Child("loadBalancerSourceRanges")
	if len(s.LoadBalancerSourceRanges) > 0 && !balanced {
		e.Forbidden(ranges, "may only be used when `type` is 'LoadBalancer'")
	}
	for i, r := range s.LoadBalancerSourceRanges {
		e.CIDR(ranges.Index(i), strings.TrimSpace(r))
	}
	switch {
	case balanced && s.AllocateLoadBalancerNodePorts == nil:
		e.Required(p.Child("allocateLoadBalancerNodePorts"), "")
	case !balanced && s.AllocateLoadBalancerNodePorts != nil:
		e.Forbidden(p.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'")
	}
	if c := s.LoadBalancerClass; c != nil {
		if !balanced {
			e.Forbidden(p.Child("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'")
		}
		e.Messages(p.Child("loadBalancerClass"), *c, utilvalidation.IsQualifiedName(*c))
	}
}

func validateTraffic(e *check.Errors, p *field.Path, s *corev1.ServiceSpec) {
	external := p.Child("externalTrafficPolicy")
	switch {
	case !isExposed(s) && s.ExternalTrafficPolicy != "":
		e.Invalid(external, s.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	case isExposed(s):
		check.OneOf(e, external, s.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	}
	health := p.Child("healthCheckNodePort")
	if !needsHealthPort(s) {
		e.If(s.HealthCheckNodePort != 0, health, s.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
	} else if s.HealthCheckNodePort != 0 {
		e.Port(health, s.HealthCheckNodePort)
	}
	switch internal := p.Child("internalTrafficPolicy"); {
	case s.InternalTrafficPolicy != nil:
		check.Among(e, internal, *s.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	case hasClusterIP(s.Type):
		e.Required(internal, "")
	}
	if t := s.TrafficDistribution; t != nil {
		check.Among(e, p.Child("trafficDistribution"), *t, corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameNode, corev1.ServiceTrafficDistributionPreferSameZone)
	}
}

func validateServiceUpdate(svc, was *corev1.Service) field.ErrorList {
	var e check.Errors
	s, old, p := &svc.Spec, &was.Spec, field.NewPath("spec")
	if hasClusterIP(s.Type) && hasClusterIP(old.Type) {
		for i := range min(len(old.ClusterIPs), len(s.ClusterIPs)) {
			e.If(old.ClusterIPs[i] != s.ClusterIPs[i], p.Child("clusterIPs").Index(i), s.ClusterIPs, "may not change once set")
		}
		if len(old.ClusterIPs) > 0 && len(s.ClusterIPs) == 0 {
			e.Invalid(p.Child("clusterIPs").Index(0), s.ClusterIPs, "primary clusterIP can not be unset")
		}
		for i := range min(len(old.IPFamilies), len(s.IPFamilies)) {
			e.If(old.IPFamilies[i] != s.IPFamilies[i], p.Child("ipFamilies").Index(i), s.IPFamilies, "may not change once set")
		}
	}
	if s.Type == corev1.ServiceTypeLoadBalancer && old.Type == corev1.ServiceTypeLoadBalancer && deref(s.LoadBalancerClass) != deref(old.LoadBalancerClass) {
		e.Invalid(p.Child("loadBalancerClass"), s.LoadBalancerClass, "may not change once set")
	}
	return e.List()
}
