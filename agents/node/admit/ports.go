package admit

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// hostPort is a port of the machine that a pod takes.
type hostPort struct {
	protocol corev1.Protocol
	port     int32
	ip       netip.Addr // unspecified for all of the machine's addresses
}

func (p hostPort) meets(other hostPort) bool {
	return p.protocol == other.protocol && p.port == other.port &&
		(p.ip == other.ip || p.ip.IsUnspecified() || other.ip.IsUnspecified())
}

// hostPorts are the ports of the machine that a pod takes. Those of init containers count only where these stay.
func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	take := func(c *corev1.Container) {
		for _, p := range c.Ports {
			ip, err := netip.ParseAddr(p.HostIP)
			if err != nil {
				ip = netip.IPv4Unspecified()
			}
			protocol := p.Protocol
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			if p.HostPort > 0 {
				out = append(out, hostPort{protocol, p.HostPort, ip})
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			take(c)
		}
	}
	for i := range pod.Spec.Containers {
		take(&pod.Spec.Containers[i])
	}
	return out
}

func ports(pod *corev1.Pod, facts *Facts) *Refusal {
	wanted := hostPorts(pod)
	if len(wanted) == 0 {
		return nil
	}
	for _, other := range facts.Others {
		for _, taken := range hostPorts(other) {
			for _, p := range wanted {
				if p.meets(taken) {
					return &Refusal{"NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
				}
			}
		}
	}
	return nil
}
