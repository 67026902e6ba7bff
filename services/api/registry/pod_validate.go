package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func validatePod(p *corev1.Pod) field.ErrorList {
	var e check.Errors
	podspec.ValidatePod(&e, p)
	return e.List()
}

// validateNewPod reports what a pod can get later, and not be made with.
func validateNewPod(p *corev1.Pod) field.ErrorList {
	var e check.Errors
	spec := field.NewPath("spec")
	if len(p.Spec.EphemeralContainers) > 0 {
		e.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create")
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		e.Forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
	}
	return e.List()
}

func validatePodUpdate(p, old *corev1.Pod) field.ErrorList {
	var e check.Errors
	validateMirror(&e, p, old)
	podspec.ValidateUpdate(&e, field.NewPath("spec"), &p.Spec, &old.Spec)
	return e.List()
}

// validateMirror: what a pod is the image of is settled when it is made.
func validateMirror(e *check.Errors, p, old *corev1.Pod) {
	const key = corev1.MirrorPodAnnotationKey
	now, has := p.Annotations[key]
	was, had := old.Annotations[key]
	at := field.NewPath("metadata", "annotations").Key(key)
	switch {
	case had && (!has || now != was):
		e.Forbidden(at, "may not remove or update mirror pod annotation")
	case has && !had:
		e.Forbidden(at, "may not add mirror pod annotation")
	}
}

func validatePodStatus(p, old *corev1.Pod) field.ErrorList {
	var e check.Errors
	at := field.NewPath("status")
	s, was := &p.Status, &old.Status
	for i, c := range s.Conditions {
		e.Qualified(at.Child("conditions").Index(i).Child("type"), string(c.Type))
	}
	if n := s.NominatedNodeName; n != "" {
		e.Messages(at.Child("nominatedNodeName"), n, validation.NameIsDNSSubdomain(n, false))
	}
	e.NonNegative(at.Child("observedGeneration"), s.ObservedGeneration)
	if was.QOSClass != "" {
		e.Immutable(at.Child("qosClass"), s.QOSClass, was.QOSClass)
	}
	validateEnds(&e, at.Child("containerStatuses"), s.ContainerStatuses, was.ContainerStatuses, p.Spec.RestartPolicy, restarting(p.Spec.Containers))
	validateEnds(&e, at.Child("initContainerStatuses"), s.InitContainerStatuses, was.InitContainerStatuses, p.Spec.RestartPolicy, restarting(p.Spec.InitContainers))
	validatePodIPs(&e, at.Child("podIPs"), s.PodIPs)
	return e.List()
}

// restarting are the containers that have a restart policy of their own.
func restarting(containers []corev1.Container) map[string]bool {
	own := map[string]bool{}
	for i := range containers {
		if containers[i].RestartPolicy != nil {
			own[containers[i].Name] = true
		}
	}
	return own
}

// validateEnds: a container that ended for good does not run again.
func validateEnds(e *check.Errors, p *field.Path, now, was []corev1.ContainerStatus, policy corev1.RestartPolicy, own map[string]bool) {
	if policy == corev1.RestartPolicyAlways {
		return
	}
	ended := map[string]bool{}
	for i := range was {
		t := was[i].State.Terminated
		ended[was[i].Name] = t != nil && (t.ExitCode == 0 || policy == corev1.RestartPolicyNever) && !own[was[i].Name]
	}
	for i := range now {
		if ended[now[i].Name] && now[i].State.Terminated == nil {
			e.Forbidden(p.Index(i).Child("state"), "may not be transitioned to non-terminated state")
		}
	}
}

func validatePodIPs(e *check.Errors, p *field.Path, ips []corev1.PodIP) {
	seen := map[string]bool{}
	for i, ip := range ips {
		e.IP(p.Index(i), ip.IP)
		if seen[ip.IP] {
			e.Duplicate(p.Index(i), ip)
		}
		seen[ip.IP] = true
	}
}

func podWarnings(p, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	return podspec.Warnings(field.NewPath("spec"), &p.Spec)
}

// prepareEphemeral lets an update of the subresource add ephemeral containers and nothing else.
func prepareEphemeral(p, old *corev1.Pod) {
	added := p.Spec.EphemeralContainers
	version := p.ResourceVersion
	*p = *old.DeepCopy()
	p.ResourceVersion = version
	p.Spec.EphemeralContainers = added
	podspec.Default(&p.Spec)
	raiseGeneration(p, old, len(added) != len(old.Spec.EphemeralContainers))
}

func validateEphemeral(p, old *corev1.Pod) field.ErrorList {
	var e check.Errors
	podspec.ValidatePod(&e, p)
	podspec.ValidateEphemeral(&e, field.NewPath("spec", "ephemeralContainers"), p.Spec.EphemeralContainers, old.Spec.EphemeralContainers)
	return e.List()
}

func validateResize(p, old *corev1.Pod) field.ErrorList {
	var e check.Errors
	podspec.ValidatePod(&e, p)
	podspec.ValidateResize(&e, field.NewPath("spec"), &p.Spec, &old.Spec)
	return e.List()
}
