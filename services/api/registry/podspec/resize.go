package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

const onlyAmounts = "only cpu and memory resources are mutable"

// ValidateResize reports what else than amounts a resize of the containers changes, and amounts that it takes away.
func ValidateResize(e *check.Errors, p *field.Path, spec, old *corev1.PodSpec) {
	if len(spec.Containers) != len(old.Containers) || len(spec.InitContainers) != len(old.InitContainers) {
		e.Forbidden(p, onlyAmounts)
		return
	}
	rest := spec.DeepCopy()
	resizeContainers(e, p.Child("containers"), rest.Containers, old.Containers)
	resizeContainers(e, p.Child("initContainers"), rest.InitContainers, old.InitContainers)
	if !equality.Semantic.DeepEqual(rest, old) {
		e.Forbidden(p, onlyAmounts)
	}
	if class := QOS(old); class != QOS(spec) {
		e.Invalid(p, class, "Pod QOS Class may not change as a result of resizing")
	}
}

// resizeContainers checks what a resize does to each container, and puts the amounts back.
func resizeContainers(e *check.Errors, p *field.Path, now, was []corev1.Container) {
	for i := range now {
		at := p.Index(i)
		if now[i].Name != was[i].Name {
			e.Forbidden(at.Child("name"), "containers may not be renamed or reordered on resize")
		}
		r, old := &now[i].Resources, &was[i].Resources
		if removed(r.Limits, old.Limits) {
			e.Forbidden(at.Child("resources", "limits"), "resource limits cannot be removed")
		}
		if removed(r.Requests, old.Requests) {
			e.Forbidden(at.Child("resources", "requests"), "resource requests cannot be removed")
		}
		r.Limits, r.Requests = putBack(r.Limits, old.Limits), putBack(r.Requests, old.Requests)
	}
}

func removed(now, was corev1.ResourceList) bool {
	for name := range was {
		if _, ok := now[name]; !ok {
			return true
		}
	}
	return false
}

// putBack is now with the processor and memory of was.
func putBack(now, was corev1.ResourceList) corev1.ResourceList {
	out := now.DeepCopy()
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(out, name)
		if q, ok := was[name]; ok {
			if out == nil {
				out = corev1.ResourceList{}
			}
			out[name] = q
		}
	}
	return out
}
