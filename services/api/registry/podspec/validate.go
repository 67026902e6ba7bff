package podspec

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// ValidateTemplate reports what is wrong with a pod template.
func ValidateTemplate(e *check.Errors, p *field.Path, t *corev1.PodTemplateSpec) {
	e.Add(metavalidation.ValidateLabels(t.Labels, p.Child("labels"))...)
	e.Add(validation.ValidateAnnotations(t.Annotations, p.Child("annotations"))...)
	validateAnnotations(e, p.Child("annotations"), t.Annotations, &t.Spec)
	Validate(e, p.Child("spec"), &t.Spec)
	if len(t.Spec.EphemeralContainers) > 0 {
		e.Forbidden(p.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
}

// ValidatePod reports what is wrong with a pod, beyond what a template is checked for.
func ValidatePod(e *check.Errors, pod *corev1.Pod) {
	p := field.NewPath("spec")
	validateAnnotations(e, field.NewPath("metadata", "annotations"), pod.Annotations, &pod.Spec)
	validate(e, p, &pod.Spec, pod.Name)
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"containers", pod.Spec.Containers}, {"initContainers", pod.Spec.InitContainers}} {
		for i := range list.containers {
			onlyInPods(e, p.Child(list.name).Index(i), &list.containers[i])
		}
	}
}

// mirrorAnnotation marks the API's image of a pod that a node runs on its own.
const mirrorAnnotation = corev1.MirrorPodAnnotationKey

func validateAnnotations(e *check.Errors, p *field.Path, a map[string]string, spec *corev1.PodSpec) {
	if v, mirror := a[mirrorAnnotation]; mirror && spec.NodeName == "" {
		e.Invalid(p.Key(mirrorAnnotation), v, "must set spec.nodeName if mirror pod annotation is set")
	}
}

// scope is what the validation of a part needs to know of the whole.
type scope struct {
	*check.Errors
	// pod is the pod's name, empty for templates.
	pod     string
	spec    *corev1.PodSpec
	volumes map[string]*corev1.VolumeSource
	claims  map[string]bool
}

// Validate reports what is wrong with a pod spec.
func Validate(e *check.Errors, p *field.Path, spec *corev1.PodSpec) { validate(e, p, spec, "") }

func validate(e *check.Errors, p *field.Path, spec *corev1.PodSpec, pod string) {
	s := &scope{Errors: e, pod: pod, spec: spec, claims: map[string]bool{}}
	s.validateVolumes(p.Child("volumes"))
	s.validateResourceClaims(p.Child("resourceClaims"))
	s.validateContainers(p)
	s.validatePodResources(p.Child("resources"))
	check.OneOf(e, p.Child("restartPolicy"), spec.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	s.validateDNS(p)
	e.Add(metavalidation.ValidateLabels(spec.NodeSelector, p.Child("nodeSelector"))...)
	s.validatePodSecurity(p)
	for i, ref := range spec.ImagePullSecrets {
		e.NotEmpty(p.Child("imagePullSecrets").Index(i).Child("name"), ref.Name)
	}
	s.validateAffinity(p.Child("affinity"))
	s.validateScheduling(p)
	s.validateNames(p)
	if d := spec.ActiveDeadlineSeconds; d != nil {
		e.InRange(p.Child("activeDeadlineSeconds"), *d, 1, math.MaxInt32)
	}
	s.validateHost(p)
}

// validateNames checks the names of other things, and the pod's own in the DNS.
func (s *scope) validateNames(p *field.Path) {
	spec := s.spec
	for _, n := range []struct {
		field, value string
		valid        validation.ValidateNameFunc
	}{
		{"serviceAccountName", spec.ServiceAccountName, validation.NameIsDNSSubdomain},
		{"nodeName", spec.NodeName, validation.NameIsDNSSubdomain},
		{"hostname", spec.Hostname, validation.NameIsDNSLabel},
		{"subdomain", spec.Subdomain, validation.NameIsDNSLabel},
		{"priorityClassName", spec.PriorityClassName, validation.NameIsDNSSubdomain},
	} {
		if n.value != "" {
			s.Messages(p.Child(n.field), n.value, n.valid(n.value, false))
		}
	}
	if r := spec.RuntimeClassName; r != nil {
		s.Messages(p.Child("runtimeClassName"), *r, validation.NameIsDNSSubdomain(*r, false))
	}
	if pp := spec.PreemptionPolicy; pp != nil {
		check.OneOf(s.Errors, p.Child("preemptionPolicy"), *pp, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	for name, q := range spec.Overhead {
		s.validateContainerResource(p.Child("overhead").Key(string(name)), name, q)
	}
}

// validateHost checks what a pod shares with its machine.
func (s *scope) validateHost(p *field.Path) {
	spec := s.spec
	for i, a := range spec.HostAliases {
		at := p.Child("hostAliases").Index(i)
		s.IP(at.Child("ip"), a.IP)
		for j, name := range a.Hostnames {
			s.Subdomain(at.Child("hostnames").Index(j), name)
		}
	}
	if spec.OS != nil {
		check.OneOf(s.Errors, p.Child("os", "name"), spec.OS.Name, corev1.Linux, corev1.Windows)
	}
	if spec.HostUsers != nil && !*spec.HostUsers {
		forbid := func(set bool, name string) {
			if set {
				s.Forbidden(p.Child(name), "when `hostUsers` is false")
			}
		}
		forbid(spec.HostNetwork, "hostNetwork")
		forbid(spec.HostPID, "hostPID")
		forbid(spec.HostIPC, "hostIPC")
	}
	if h := spec.HostnameOverride; h != nil {
		at := p.Child("hostnameOverride")
		const longest = 64
		s.Subdomain(at, *h)
		if len(*h) > longest {
			s.Add(field.TooLong(at, *h, longest))
		}
		if spec.HostNetwork {
			s.Forbidden(at, "may not be set when `hostNetwork` is true")
		}
	}
}
