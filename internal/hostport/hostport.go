// Package hostport says which ports of its machine a pod takes: the scheduler and the node must agree on that.
package hostport

import corev1 "k8s.io/api/core/v1"

// Port is a port of the machine; IP is empty for all of its addresses.
type Port struct {
	IP       string
	Protocol corev1.Protocol
	Port     int32
}

// Meets tells whether two pods cannot have both ports.
func (p Port) Meets(other Port) bool {
	return p.Port == other.Port && p.Protocol == other.Protocol && (p.IP == other.IP || p.IP == "" || other.IP == "")
}

// Of returns the ports that a pod takes as long as it runs: those of init containers count only where these stay.
func Of(pod *corev1.Pod) []Port {
	var out []Port
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = appendOf(out, c)
		}
	}
	for i := range pod.Spec.Containers {
		out = appendOf(out, &pod.Spec.Containers[i])
	}
	return out
}

func appendOf(out []Port, c *corev1.Container) []Port {
	for _, port := range c.Ports {
		if port.HostPort == 0 {
			continue
		}
		p := Port{IP: port.HostIP, Protocol: port.Protocol, Port: port.HostPort}
		if p.IP == "0.0.0.0" || p.IP == "::" {
			p.IP = ""
		}
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		out = append(out, p)
	}
	return out
}
