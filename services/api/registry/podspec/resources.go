package podspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// CheckResource reports a name that no resource can have and an amount that the resource cannot have.
func CheckResource(e *check.Errors, p *field.Path, name corev1.ResourceName, q resource.Quantity) {
	checkResourceName(e, p, name)
	CheckQuantity(e, p, name, q)
}

// CheckQuantity reports amounts below zero, and fractions of what comes in whole pieces.
func CheckQuantity(e *check.Errors, p *field.Path, name corev1.ResourceName, q resource.Quantity) {
	if q.Sign() < 0 {
		e.Invalid(p, q.String(), "must be greater than or equal to 0")
	}
	if isInteger(name) && q.MilliValue()%1000 != 0 {
		e.Invalid(p, q, "must be an integer")
	}
}

func checkResourceName(e *check.Errors, p *field.Path, name corev1.ResourceName) {
	if msgs := validation.IsQualifiedName(string(name)); len(msgs) > 0 {
		e.Messages(p, name, msgs)
		return
	}
	if !strings.Contains(string(name), "/") && !standard(name) {
		e.Invalid(p, name, "must be a standard resource type or fully qualified")
	}
}

func standard(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourceStorage, corev1.ResourcePods,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
		corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceQuotas, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
		corev1.ResourceRequestsStorage:
		return true
	}
	return isHugePage(name) || strings.HasPrefix(string(name), "requests."+corev1.ResourceHugePagesPrefix)
}

// isInteger: these are counted, not measured.
func isInteger(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return isExtended(name)
}

// isNative: the names that Kubernetes itself owns.
func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// isExtended: resources that devices and administrators announce.
func isExtended(name corev1.ResourceName) bool {
	if isNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

func isHugePage(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// overcommits: a node may promise more of these than it has, so that a request may be below its limit.
func overcommits(name corev1.ResourceName) bool { return isNative(name) && !isHugePage(name) }

// validateContainerResource checks a name and an amount that a container asks for.
func (s *scope) validateContainerResource(p *field.Path, name corev1.ResourceName, q resource.Quantity) {
	checkResourceName(s.Errors, p, name)
	switch {
	case !strings.Contains(string(name), "/"):
		s.If(!forContainers(name), p, name, "must be a standard resource for containers")
	case !isNative(name) && !isExtended(name):
		s.Invalid(p, name, "doesn't follow extended resource name standard")
	}
	CheckQuantity(s.Errors, p, name, q)
}

func forContainers(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage || isHugePage(name)
}

func (s *scope) validateContainerResources(p *field.Path, r *corev1.ResourceRequirements) {
	s.validateAmounts(p, r)
	names := map[string]bool{}
	for i, c := range r.Claims {
		at := p.Child("claims").Index(i)
		if !s.NotEmpty(at.Child("name"), c.Name) {
			continue
		}
		s.unique(names, at, c.Name)
		if !s.claims[c.Name] {
			s.Add(field.NotFound(at, c.Name))
		}
	}
}

// validateAmounts checks limits and requests, each and against each other.
func (s *scope) validateAmounts(p *field.Path, r *corev1.ResourceRequirements) {
	limits, requests := p.Child("limits"), p.Child("requests")
	for _, name := range names(r.Limits) {
		s.validateContainerResource(limits.Key(string(name)), name, r.Limits[name])
	}
	for _, name := range names(r.Requests) {
		q := r.Requests[name]
		s.validateContainerResource(requests.Key(string(name)), name, q)
		limit, limited := r.Limits[name]
		switch {
		case !limited && !overcommits(name):
			s.Required(limits, "Limit must be set for non overcommitable resources")
		case limited && !overcommits(name) && q.Cmp(limit) != 0:
			s.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String()))
		case limited && q.Cmp(limit) > 0:
			s.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String()))
		}
	}
	if anyOf(r.Limits, isHugePage) || anyOf(r.Requests, isHugePage) {
		usual := func(n corev1.ResourceName) bool { return n == corev1.ResourceCPU || n == corev1.ResourceMemory }
		if !anyOf(r.Limits, usual) && !anyOf(r.Requests, usual) {
			s.Forbidden(p, "HugePages require cpu or memory")
		}
	}
}

// names are sorted, so that the same mistakes are always told in the same order.
func names(list corev1.ResourceList) []corev1.ResourceName { return slices.Sorted(maps.Keys(list)) }

func anyOf(list corev1.ResourceList, is func(corev1.ResourceName) bool) bool {
	for name := range list {
		if is(name) {
			return true
		}
	}
	return false
}

// validatePodResources checks what the pod asks for as a whole.
func (s *scope) validatePodResources(p *field.Path) {
	r := s.spec.Resources
	if r == nil {
		return
	}
	if len(r.Claims) > 0 {
		s.Forbidden(p.Child("claims"), "claims are not allowed at the pod level")
	}
	podLevel := func(n corev1.ResourceName) bool {
		return n == corev1.ResourceCPU || n == corev1.ResourceMemory || isHugePage(n)
	}
	for _, l := range []struct {
		name string
		list corev1.ResourceList
	}{{"limits", r.Limits}, {"requests", r.Requests}} {
		for _, name := range names(l.list) {
			if !podLevel(name) {
				s.Add(field.NotSupported(p.Child(l.name).Key(string(name)), name, []string{"cpu", "hugepages-", "memory"}))
			}
		}
	}
	s.validateAmounts(p, r)
	sums := aggregateRequests(s.spec)
	for _, name := range names(sums) {
		sum := sums[name]
		if q, ok := r.Requests[name]; ok && podLevel(name) && sum.Cmp(q) > 0 {
			s.Invalid(p.Child("requests").Key(string(name)), q.String(), "must be greater than or equal to aggregate container requests of "+sum.String())
		}
	}
}

func (s *scope) validateResizePolicy(p *field.Path, policies []corev1.ContainerResizePolicy) {
	seen := map[corev1.ResourceName]bool{}
	for _, r := range policies {
		if seen[r.ResourceName] {
			s.Duplicate(p, r.ResourceName)
		}
		seen[r.ResourceName] = true
		check.OneOf(s.Errors, p, r.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)
		check.OneOf(s.Errors, p, r.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)
	}
}
