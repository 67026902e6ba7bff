package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/internal/conditions"
)

// group is the endpoints of one address family that have the same port numbers: named target ports may mean different
// numbers in different pods.
type group struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints map[types.UID]discoveryv1.Endpoint
}

// listed says that the pod belongs into the endpoints of a service that selects it: it has an address and has not
// ended. Terminating pods stay listed, as such, until they are gone.
func listed(p *corev1.Pod) bool {
	return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed && len(addresses(p)) > 0
}

func addresses(p *corev1.Pod) []corev1.PodIP {
	if len(p.Status.PodIPs) == 0 && p.Status.PodIP != "" {
		return []corev1.PodIP{{IP: p.Status.PodIP}}
	}
	return p.Status.PodIPs
}

// families are the address types in which the service has endpoints.
func families(svc *corev1.Service) []discoveryv1.AddressType {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	var out []discoveryv1.AddressType
	for _, f := range svc.Spec.IPFamilies {
		out = append(out, discoveryv1.AddressType(f))
	}
	if len(out) > 0 {
		return out
	}
	if ip, err := netip.ParseAddr(svc.Spec.ClusterIP); err == nil && ip.Is6() {
		return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv6}
	}
	return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
}

func addressOf(p *corev1.Pod, family discoveryv1.AddressType) (string, bool) {
	for _, a := range addresses(p) {
		ip, err := netip.ParseAddr(a.IP)
		if err == nil && ip.Is6() == (family == discoveryv1.AddressTypeIPv6) {
			return a.IP, true
		}
	}
	return "", false
}

// groupsOf returns what the service's slices should hold, in a stable order. zone gives the zone of a node, "" for none.
func groupsOf(svc *corev1.Service, pods []*corev1.Pod, zone func(node string) string) []*group {
	byKey := map[string]*group{}
	for _, family := range families(svc) {
		for _, p := range pods {
			ip, ok := addressOf(p, family)
			if !ok || !listed(p) {
				continue
			}
			ports := portsOf(svc, p)
			key := string(family) + " " + portsKey(ports)
			g := byKey[key]
			if g == nil {
				g = &group{family: family, ports: ports, endpoints: map[types.UID]discoveryv1.Endpoint{}}
				byKey[key] = g
			}
			g.endpoints[p.UID] = endpoint(svc, p, ip, zone(p.Spec.NodeName))
		}
	}
	var out []*group
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		out = append(out, byKey[key])
	}
	return out
}

// portsOf resolves the service's ports for a pod. A named port that the pod does not have is left out.
func portsOf(svc *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		if number, ok := targetPort(sp, p); ok {
			out = append(out, discoveryv1.EndpointPort{Name: &sp.Name, Protocol: &sp.Protocol, Port: &number, AppProtocol: sp.AppProtocol})
		}
	}
	return out
}

func targetPort(sp *corev1.ServicePort, p *corev1.Pod) (int32, bool) {
	if sp.TargetPort.Type == intstr.Int {
		return cmp.Or(sp.TargetPort.IntVal, sp.Port), true
	}
	find := func(containers []corev1.Container, want func(*corev1.Container) bool) (int32, bool) {
		for i := range containers {
			for _, port := range containers[i].Ports {
				if port.Name == sp.TargetPort.StrVal && port.Protocol == sp.Protocol && want(&containers[i]) {
					return port.ContainerPort, true
				}
			}
		}
		return 0, false
	}
	if n, ok := find(p.Spec.Containers, func(*corev1.Container) bool { return true }); ok {
		return n, true
	}
	return find(p.Spec.InitContainers, func(c *corev1.Container) bool {
		return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

func portsKey(ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%s/%s/%d/%s,", value(p.Name), value(p.Protocol), value(p.Port), value(p.AppProtocol))
	}
	return b.String()
}

func value[T any](p *T) T {
	if p == nil {
		var none T
		return none
	}
	return *p
}

func endpoint(svc *corev1.Service, p *corev1.Pod, ip, zone string) discoveryv1.Endpoint {
	serving, terminating := conditions.PodReady(p), p.DeletionTimestamp != nil
	ready := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	e := discoveryv1.Endpoint{
		Addresses:  []string{ip},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  podRef(p),
	}
	if p.Spec.NodeName != "" {
		e.NodeName = &p.Spec.NodeName
	}
	if zone != "" {
		e.Zone = &zone
	}
	if p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name {
		e.Hostname = &p.Spec.Hostname
	}
	if ready {
		e.Hints = hints(svc, &e)
	}
	return e
}

func podRef(p *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// hints tell the dataplanes who should use the endpoint first, when the service asks for that.
func hints(svc *corev1.Service, e *discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	var h discoveryv1.EndpointHints
	switch value(svc.Spec.TrafficDistribution) {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if e.NodeName != nil {
			h.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
		}
		fallthrough
	case corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferClose:
		if e.Zone != nil {
			h.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
		}
	}
	if len(h.ForNodes)+len(h.ForZones) == 0 {
		return nil
	}
	return &h
}

// labelsOf are the service's own labels and more.
func labelsOf(svc *corev1.Service, more map[string]string) map[string]string {
	out := maps.Clone(svc.Labels)
	if out == nil {
		out = map[string]string{}
	}
	delete(out, corev1.IsHeadlessService)
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		out[corev1.IsHeadlessService] = ""
	}
	maps.Copy(out, more)
	return out
}
