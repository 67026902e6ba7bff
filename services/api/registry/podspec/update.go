package podspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

const mayChange = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
	"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// ValidateUpdate reports changes of a pod's spec that a pod, once made, cannot follow.
func ValidateUpdate(e *check.Errors, p *field.Path, spec, old *corev1.PodSpec) {
	if !sameContainers(e, p.Child("containers"), spec.Containers, old.Containers) ||
		!sameContainers(e, p.Child("initContainers"), spec.InitContainers, old.InitContainers) {
		return
	}
	if !validateDeadline(e, p.Child("activeDeadlineSeconds"), spec.ActiveDeadlineSeconds, old.ActiveDeadlineSeconds) {
		return
	}
	validateAddedTolerations(e, p.Child("tolerations"), spec.Tolerations, old.Tolerations)
	validateGates(e, p.Child("schedulingGates"), spec.SchedulingGates, old.SchedulingGates)

	// What may change is put back; anything that differs then may not.
	rest := spec.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	rest.Tolerations = old.Tolerations
	rest.SchedulingGates = old.SchedulingGates
	if t := old.TerminationGracePeriodSeconds; t != nil && *t < 0 && rest.TerminationGracePeriodSeconds != nil && *rest.TerminationGracePeriodSeconds == 1 {
		rest.TerminationGracePeriodSeconds = t
	}
	if len(old.SchedulingGates) > 0 {
		keepGated(e, p, rest, old)
	}
	if !equality.Semantic.DeepEqual(rest, old) {
		e.Forbidden(p, mayChange+"\n"+diff.Diff(old, rest))
	}
}

// sameContainers reports containers that came or went, and images that cannot be.
func sameContainers(e *check.Errors, p *field.Path, now, was []corev1.Container) bool {
	if len(now) != len(was) {
		e.Forbidden(p, "pod updates may not add or remove containers")
		return false
	}
	return true
}

// validateDeadline: a deadline may be set, and come closer.
func validateDeadline(e *check.Errors, p *field.Path, now, was *int64) bool {
	switch {
	case now == nil && was != nil:
		e.Invalid(p, now, "must not update from a positive integer to nil value")
	case now != nil && was != nil && *was < *now:
		e.Invalid(p, *now, "must be less than or equal to previous value")
		return false
	}
	return true
}

// validateAddedTolerations: tolerations may be added, and of those there were only the seconds may change.
func validateAddedTolerations(e *check.Errors, p *field.Path, now, was []corev1.Toleration) {
	for _, w := range was {
		w.TolerationSeconds = nil
		if !slices.ContainsFunc(now, func(n corev1.Toleration) bool { n.TolerationSeconds = nil; return n == w }) {
			e.Forbidden(p, "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
}

// validateGates: a gate that was opened stays open.
func validateGates(e *check.Errors, p *field.Path, now, was []corev1.PodSchedulingGate) {
	for i, g := range now {
		if !slices.Contains(was, g) {
			e.Forbidden(p.Index(i), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name))
		}
	}
}

// keepGated: as long as a gate keeps a pod from being placed, its choice of nodes may become narrower.
func keepGated(e *check.Errors, p *field.Path, spec, old *corev1.PodSpec) {
	for k, v := range old.NodeSelector {
		if now, ok := spec.NodeSelector[k]; !ok || now != v {
			e.Invalid(p.Child("nodeSelector"), spec.NodeSelector, "additions only are allowed, deletions and modifications are not")
			break
		}
	}
	spec.NodeSelector = maps.Clone(old.NodeSelector)
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil && (old.Affinity == nil || old.Affinity.NodeAffinity == nil) {
		spec.Affinity.NodeAffinity = nil
		if *spec.Affinity == (corev1.Affinity{}) {
			spec.Affinity = old.Affinity
		}
	}
}

// ValidateEphemeral reports changes of ephemeral containers other than new ones.
func ValidateEphemeral(e *check.Errors, p *field.Path, now, was []corev1.EphemeralContainer) {
	byName := make(map[string]*corev1.EphemeralContainer, len(now))
	for i := range now {
		byName[now[i].Name] = &now[i]
	}
	for i := range was {
		n := byName[was[i].Name]
		switch {
		case n == nil:
			e.Forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was[i].Name))
		case !equality.Semantic.DeepEqual(*n, was[i]):
			e.Forbidden(p, strings.TrimSpace(fmt.Sprintf("existing ephemeral containers %q may not be changed\n%s", was[i].Name, diff.Diff(was[i], *n))))
		}
	}
}
