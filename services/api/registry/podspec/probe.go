package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func (s *scope) validateProbes(p *field.Path, c *corev1.Container) {
	s.validateProbe(p.Child("livenessProbe"), c.LivenessProbe)
	s.validateProbe(p.Child("readinessProbe"), c.ReadinessProbe)
	s.validateProbe(p.Child("startupProbe"), c.StartupProbe)
	if r := c.ReadinessProbe; r != nil && r.TerminationGracePeriodSeconds != nil {
		s.Invalid(p.Child("readinessProbe", "terminationGracePeriodSeconds"), *r.TerminationGracePeriodSeconds, "must not be set for readinessProbes")
	}
	if l := c.LivenessProbe; l != nil {
		s.If(l.SuccessThreshold != 1, p.Child("livenessProbe", "successThreshold"), l.SuccessThreshold, "must be 1")
	}
	if l := c.StartupProbe; l != nil {
		s.If(l.SuccessThreshold != 1, p.Child("startupProbe", "successThreshold"), l.SuccessThreshold, "must be 1")
	}
}

func (s *scope) validateProbe(p *field.Path, probe *corev1.Probe) {
	if probe == nil {
		return
	}
	h := &probe.ProbeHandler
	s.validateHandler(p, handler{h.Exec, h.HTTPGet, h.TCPSocket, h.GRPC, nil})
	s.NonNegatives(p, map[string]*int32{
		"initialDelaySeconds": &probe.InitialDelaySeconds, "timeoutSeconds": &probe.TimeoutSeconds, "periodSeconds": &probe.PeriodSeconds,
		"successThreshold": &probe.SuccessThreshold, "failureThreshold": &probe.FailureThreshold,
	})
	if g := probe.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		s.Invalid(p.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0")
	}
}

func (s *scope) validateLifecycle(p *field.Path, l *corev1.Lifecycle) {
	if l == nil {
		return
	}
	if h := l.PostStart; h != nil {
		s.validateHandler(p.Child("postStart"), handler{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep})
	}
	if h := l.PreStop; h != nil {
		s.validateHandler(p.Child("preStop"), handler{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep})
	}
	if l.StopSignal != nil {
		if s.spec.OS == nil {
			s.Forbidden(p.Child("stopSignal"), "may not be set for containers with empty `spec.os.name`")
		}
	}
}

// handler is one of the ways to ask or tell a container something.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func (s *scope) validateHandler(p *field.Path, h handler) {
	count := 0
	one := func(set bool, name string, validate func(*field.Path)) {
		if !set {
			return
		}
		if count++; count > 1 {
			s.Forbidden(p.Child(name), "may not specify more than 1 handler type")
			return
		}
		validate(p.Child(name))
	}
	one(h.exec != nil, "exec", func(p *field.Path) {
		if len(h.exec.Command) == 0 {
			s.Required(p.Child("command"), "")
		}
	})
	one(h.http != nil, "httpGet", func(p *field.Path) { s.validateHTTPGet(p, h.http) })
	one(h.tcp != nil, "tcpSocket", func(p *field.Path) { s.PortOrName(p.Child("port"), h.tcp.Port) })
	one(h.grpc != nil, "grpc", func(p *field.Path) { s.Port(p.Child("port"), h.grpc.Port) })
	one(h.sleep != nil, "sleep", func(p *field.Path) {
		if g := s.spec.TerminationGracePeriodSeconds; g != nil && (h.sleep.Seconds < 0 || h.sleep.Seconds > *g) {
			s.Invalid(p, h.sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *g))
		}
	})
	if count == 0 {
		s.Required(p, "must specify a handler type")
	}
}

func (s *scope) validateHTTPGet(p *field.Path, h *corev1.HTTPGetAction) {
	s.NotEmpty(p.Child("path"), h.Path)
	s.PortOrName(p.Child("port"), h.Port)
	check.Among(s.Errors, p.Child("scheme"), h.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
	for _, header := range h.HTTPHeaders {
		s.Messages(p.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))
	}
}
