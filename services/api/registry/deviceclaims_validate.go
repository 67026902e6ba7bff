package registry

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// validateRequests checks what devices a claim asks for. What is missing of a class comes last, as in Kubernetes.
func validateRequests(p *field.Path, s *resourcev1.ResourceClaimSpec) field.ErrorList {
	const most = 32
	var e check.Errors
	at := p.Child("devices", "requests")
	if n := len(s.Devices.Requests); n > most {
		e.Add(field.TooMany(at, n, most))
		return e.List()
	}
	names := map[string]bool{}
	for i := range s.Devices.Requests {
		r := &s.Devices.Requests[i]
		validateRequest(&e, at.Index(i), r)
		if names[r.Name] {
			e.Duplicate(at.Index(i), *r)
		}
		names[r.Name] = true
	}
	for i, r := range s.Devices.Requests {
		if r.Exactly != nil {
			validateDeviceClassName(&e, at.Index(i).Child("exactly"), r.Exactly.DeviceClassName)
		}
		for k, sub := range r.FirstAvailable {
			validateDeviceClassName(&e, at.Index(i).Child("firstAvailable").Index(k), sub.DeviceClassName)
		}
	}
	return e.List()
}

func validateDeviceClassName(e *check.Errors, p *field.Path, class string) {
	if at := p.Child("deviceClassName"); e.NotEmpty(at, class) {
		e.Subdomain(at, class)
	}
}

// validateRequest: a request is for one thing, or for the first of several that there is.
func validateRequest(e *check.Errors, p *field.Path, r *resourcev1.DeviceRequest) {
	e.Label(p.Child("name"), r.Name)
	switch exact, first := r.Exactly != nil, len(r.FirstAvailable) > 0; {
	case exact && first:
		e.Invalid(p, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")
	case !exact && !first:
		e.Required(p, "exactly one of `exactly` or `firstAvailable` is required")
	}
	if x := r.Exactly; x != nil {
		validateCount(e, p.Child("exactly"), x.AllocationMode, x.Count)
	}
	names := map[string]bool{}
	for i, sub := range r.FirstAvailable {
		at := p.Child("firstAvailable").Index(i)
		e.Label(at.Child("name"), sub.Name)
		validateCount(e, at, sub.AllocationMode, sub.Count)
		if names[sub.Name] {
			e.Duplicate(at, sub)
		}
		names[sub.Name] = true
	}
}

func validateCount(e *check.Errors, p *field.Path, mode resourcev1.DeviceAllocationMode, count int64) {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		e.Positive(p.Child("count"), count)
	case resourcev1.DeviceAllocationModeAll:
		e.If(count != 0, p.Child("count"), count, "must not be specified when allocationMode is 'All'")
	default:
		check.Among(e, p.Child("allocationMode"), mode, resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)
	}
}
