package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// validateContainers checks all three lists; p is the spec's path.
func (s *scope) validateContainers(p *field.Path) {
	names := map[string]bool{}
	containers, inits, ephemeral := p.Child("containers"), p.Child("initContainers"), p.Child("ephemeralContainers")
	if len(s.spec.Containers) == 0 {
		s.Required(containers, "")
	}
	for i := range s.spec.Containers {
		c, at := &s.spec.Containers[i], containers.Index(i)
		s.validateContainer(at, c)
		s.unique(names, at.Child("name"), c.Name)
		s.validateLifecycle(at.Child("lifecycle"), c.Lifecycle)
		s.validateProbes(at, c)
	}
	s.hostPorts(containers, s.spec.Containers)
	for i := range s.spec.InitContainers {
		c, at := &s.spec.InitContainers[i], inits.Index(i)
		s.validateContainer(at, c)
		s.unique(names, at.Child("name"), c.Name)
		s.validateInit(at, c)
	}
	for i := range s.spec.EphemeralContainers {
		s.validateEphemeral(ephemeral.Index(i), &s.spec.EphemeralContainers[i], names)
	}
}

func (s *scope) unique(names map[string]bool, p *field.Path, name string) {
	if names[name] {
		s.Duplicate(p, name)
	}
	if name != "" {
		names[name] = true
	}
}

// validateContainer checks what all kinds of containers have.
func (s *scope) validateContainer(p *field.Path, c *corev1.Container) {
	if s.NotEmpty(p.Child("name"), c.Name) {
		s.Label(p.Child("name"), c.Name)
	}
	s.NotEmpty(p.Child("image"), c.Image)
	check.OneOf(s.Errors, p.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageFallbackToLogsOnError, corev1.TerminationMessageReadFile)
	s.validatePorts(p.Child("ports"), c.Ports)
	s.validateEnv(p.Child("env"), c.Env)
	s.validateEnvFrom(p.Child("envFrom"), c.EnvFrom)
	s.validateMounts(p, c)
	check.OneOf(s.Errors, p.Child("imagePullPolicy"), c.ImagePullPolicy, pullPolicies...)
	s.validateContainerResources(p.Child("resources"), &c.Resources)
	s.validateResizePolicy(p.Child("resizePolicy"), c.ResizePolicy)
	s.validateSecurity(p.Child("securityContext"), c.SecurityContext)
	s.validateRestart(p, c)
}

var pullPolicies = []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}

// onlyInPods: templates were always allowed to have these, and their pods are not.
func onlyInPods(e *check.Errors, p *field.Path, c *corev1.Container) {
	if strings.TrimSpace(c.Image) != c.Image {
		e.Invalid(p.Child("image"), c.Image, "must not have leading or trailing whitespace")
	}
}

// validateInit: an init container that ends cannot be probed; one that stays is like any other.
func (s *scope) validateInit(p *field.Path, c *corev1.Container) {
	if IsSidecar(c) {
		s.validateLifecycle(p.Child("lifecycle"), c.Lifecycle)
		s.validateProbes(p, c)
		return
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
	} {
		if f.set {
			s.Forbidden(p.Child(f.name), "may not be set for init containers without restartPolicy=Always")
		}
	}
}

// validateEphemeral: such a container is for looking, and takes nothing of what was promised to others.
func (s *scope) validateEphemeral(p *field.Path, ec *corev1.EphemeralContainer, names map[string]bool) {
	c := corev1.Container(ec.EphemeralContainerCommon)
	s.validateContainer(p, &c)
	if t := ec.TargetContainerName; t != "" && !hasContainer(s.spec, t) {
		s.Add(field.NotFound(p.Child("targetContainerName"), t))
	}
	s.unique(names, p.Child("name"), c.Name)
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"ports", len(c.Ports) > 0}, {"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
		{"resources", len(c.Resources.Limits)+len(c.Resources.Requests)+len(c.Resources.Claims) > 0},
		{"resizePolicy", len(c.ResizePolicy) > 0}, {"restartPolicy", c.RestartPolicy != nil}, {"restartPolicyRules", len(c.RestartPolicyRules) > 0},
	} {
		if f.set {
			s.Forbidden(p.Child(f.name), "cannot be set for an Ephemeral Container")
		}
	}
	for i, m := range c.VolumeMounts {
		if m.SubPath != "" || m.SubPathExpr != "" {
			s.Forbidden(p.Child("volumeMounts").Index(i).Child("subPath"), "cannot be set for an Ephemeral Container")
		}
	}
}

func hasContainer(spec *corev1.PodSpec, name string) bool {
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return true
			}
		}
	}
	return false
}

func (s *scope) validatePorts(p *field.Path, ports []corev1.ContainerPort) {
	names := map[string]bool{}
	for i := range ports {
		port, at := &ports[i], p.Index(i)
		if port.Name != "" {
			if msgs := validation.IsValidPortName(port.Name); len(msgs) > 0 {
				s.Messages(at.Child("name"), port.Name, msgs)
			} else {
				s.unique(names, at.Child("name"), port.Name)
			}
		}
		if port.ContainerPort == 0 {
			s.Required(at.Child("containerPort"), "")
		} else {
			s.Port(at.Child("containerPort"), port.ContainerPort)
		}
		if port.HostPort != 0 {
			s.Port(at.Child("hostPort"), port.HostPort)
		}
		if s.spec.HostNetwork && port.HostPort != 0 && port.HostPort != port.ContainerPort {
			s.Invalid(at.Child("containerPort"), port.ContainerPort, "must match `hostPort` when `hostNetwork` is true")
		}
		check.OneOf(s.Errors, at.Child("protocol"), port.Protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
	}
}

// hostPorts reports ports of the machine that two containers want.
func (s *scope) hostPorts(p *field.Path, containers []corev1.Container) {
	taken := map[string]bool{}
	for i := range containers {
		for j, port := range containers[i].Ports {
			if port.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
			if taken[key] {
				s.Duplicate(p.Index(i).Child("ports").Index(j).Child("hostPort"), key)
			}
			taken[key] = true
		}
	}
}

// validateRestart checks a container's own restart policy and the exit codes that it makes exceptions for.
func (s *scope) validateRestart(p *field.Path, c *corev1.Container) {
	if c.RestartPolicy == nil {
		if len(c.RestartPolicyRules) > 0 {
			s.Required(p.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
		}
		return
	}
	check.Among(s.Errors, p.Child("restartPolicy"), *c.RestartPolicy,
		corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	const most, codes = 20, 255
	rules := p.Child("restartPolicyRules")
	if len(c.RestartPolicyRules) > most {
		s.Add(field.TooMany(rules, len(c.RestartPolicyRules), most))
	}
	for i, r := range c.RestartPolicyRules {
		at := rules.Index(i)
		check.Among(s.Errors, at.Child("action"), r.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		if r.ExitCodes == nil {
			s.Required(at.Child("exitCodes"), "must be specified")
			continue
		}
		check.Among(s.Errors, at.Child("exitCodes", "operator"), r.ExitCodes.Operator,
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
		if n := len(r.ExitCodes.Values); n > codes {
			s.Add(field.TooMany(at.Child("exitCodes", "values"), n, codes))
		}
	}
}
