package worker

import (
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// serviceVariables tell the container where the Services of its namespace are, and in any case where the API is.
func (s *starting) serviceVariables(env *environment) {
	for _, service := range s.pool.cfg.Objects.Services(corev1.NamespaceDefault) {
		if service.Name == "kubernetes" {
			describeService(env, service)
		}
	}
	if on := s.pod.Spec.EnableServiceLinks; on != nil && !*on {
		return
	}
	for _, service := range s.pool.cfg.Objects.Services(s.namespace) {
		describeService(env, service)
	}
}

// describeService sets the variables of one Service: those of Kubernetes, and those that container links once set.
func describeService(env *environment, service *corev1.Service) {
	host := service.Spec.ClusterIP
	if host == "" || host == corev1.ClusterIPNone || len(service.Spec.Ports) == 0 {
		return
	}
	prefix := variableName(service.Name)
	env.set(prefix+"_SERVICE_HOST", host)
	env.set(prefix+"_SERVICE_PORT", port(&service.Spec.Ports[0]))
	for i := range service.Spec.Ports {
		if p := &service.Spec.Ports[i]; p.Name != "" {
			env.set(prefix+"_SERVICE_PORT_"+variableName(p.Name), port(p))
		}
	}
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		protocol := string(p.Protocol)
		if protocol == "" {
			protocol = string(corev1.ProtocolTCP)
		}
		url := strings.ToLower(protocol) + "://" + net.JoinHostPort(host, port(p))
		if i == 0 {
			env.set(prefix+"_PORT", url)
		}
		link := prefix + "_PORT_" + port(p) + "_" + strings.ToUpper(protocol)
		env.set(link, url)
		env.set(link+"_PROTO", strings.ToLower(protocol))
		env.set(link+"_PORT", port(p))
		env.set(link+"_ADDR", host)
	}
}

func port(p *corev1.ServicePort) string { return strconv.Itoa(int(p.Port)) }

func variableName(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
