package registry

import (
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func device(kind string) schema.GroupVersionKind { return gvk("resource.k8s.io", "v1", kind) }

func resourceClaim() *Kind {
	return define(Spec[*resourcev1.ResourceClaim]{
		GVK: device("ResourceClaim"), Resource: "resourceclaims", Singular: "resourceclaim", Namespaced: true,
		New:     func() *resourcev1.ResourceClaim { return &resourcev1.ResourceClaim{} },
		NewList: func() runtime.Object { return &resourcev1.ResourceClaimList{} },
		Life: specAndStatus(func(o *resourcev1.ResourceClaim) (*resourcev1.ResourceClaimSpec, *resourcev1.ResourceClaimStatus) {
			return &o.Spec, &o.Status
		}),
		Default: func(c *resourcev1.ResourceClaim) { defaultRequests(&c.Spec) },
		Validate: func(c *resourcev1.ResourceClaim) field.ErrorList {
			return validateRequests(field.NewPath("spec"), &c.Spec)
		},
		ValidateUpdate: func(c, old *resourcev1.ResourceClaim) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec"), c.Spec, old.Spec)
			return e.List()
		},
		Columns: columns("Name|State|Age"),
		Cells: func(c *resourcev1.ResourceClaim, now time.Time) []any {
			var states []string
			if c.DeletionTimestamp != nil {
				states = append(states, "deleted")
			}
			switch {
			case c.Status.Allocation == nil && c.DeletionTimestamp == nil:
				states = append(states, "pending")
			case c.Status.Allocation != nil:
				states = append(states, "allocated")
				if len(c.Status.ReservedFor) > 0 {
					states = append(states, "reserved")
				}
			}
			return []any{c.Name, strings.Join(states, ","), age(c.CreationTimestamp, now)}
		},
	})
}

func defaultRequests(s *resourcev1.ResourceClaimSpec) {
	for i := range s.Devices.Requests {
		if r := s.Devices.Requests[i].Exactly; r != nil {
			set(&r.AllocationMode, resourcev1.DeviceAllocationModeExactCount)
			if r.AllocationMode == resourcev1.DeviceAllocationModeExactCount {
				set(&r.Count, 1)
			}
		}
		for k := range s.Devices.Requests[i].FirstAvailable {
			r := &s.Devices.Requests[i].FirstAvailable[k]
			set(&r.AllocationMode, resourcev1.DeviceAllocationModeExactCount)
			if r.AllocationMode == resourcev1.DeviceAllocationModeExactCount {
				set(&r.Count, 1)
			}
		}
	}
}

func resourceClaimTemplate() *Kind {
	return define(Spec[*resourcev1.ResourceClaimTemplate]{
		GVK: device("ResourceClaimTemplate"), Resource: "resourceclaimtemplates", Singular: "resourceclaimtemplate", Namespaced: true,
		New:     func() *resourcev1.ResourceClaimTemplate { return &resourcev1.ResourceClaimTemplate{} },
		NewList: func() runtime.Object { return &resourcev1.ResourceClaimTemplateList{} },
		Default: func(c *resourcev1.ResourceClaimTemplate) { defaultRequests(&c.Spec.Spec) },
		Validate: func(c *resourcev1.ResourceClaimTemplate) field.ErrorList {
			return validateRequests(field.NewPath("spec", "spec"), &c.Spec.Spec)
		},
		ValidateUpdate: func(c, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec"), c.Spec, old.Spec)
			return e.List()
		},
	})
}

func deviceClass() *Kind {
	return define(Spec[*resourcev1.DeviceClass]{
		GVK: device("DeviceClass"), Resource: "deviceclasses", Singular: "deviceclass",
		New:     func() *resourcev1.DeviceClass { return &resourcev1.DeviceClass{} },
		NewList: func() runtime.Object { return &resourcev1.DeviceClassList{} },
		Life:    counted(func(c *resourcev1.DeviceClass) any { return c.Spec }),
		Validate: func(c *resourcev1.DeviceClass) field.ErrorList {
			var e check.Errors
			for i, s := range c.Spec.Selectors {
				if s.CEL == nil {
					e.Required(field.NewPath("spec", "selectors").Index(i).Child("cel"), "")
				}
			}
			return e.List()
		},
		ValidateName: func(name string, _ bool) []string { return content.IsDNS1123Subdomain(name) },
	})
}

func resourceSlice() *Kind {
	return define(Spec[*resourcev1.ResourceSlice]{
		GVK: device("ResourceSlice"), Resource: "resourceslices", Singular: "resourceslice",
		New:     func() *resourcev1.ResourceSlice { return &resourcev1.ResourceSlice{} },
		NewList: func() runtime.Object { return &resourcev1.ResourceSliceList{} },
		Life:    counted(func(s *resourcev1.ResourceSlice) any { return s.Spec }),
		Validate: func(s *resourcev1.ResourceSlice) field.ErrorList {
			var e check.Errors
			p := field.NewPath("spec")
			podspec.ValidateDriverName(&e, p.Child("driver"), s.Spec.Driver)
			e.NotEmpty(p.Child("pool", "name"), s.Spec.Pool.Name)
			return e.List()
		},
		Columns: columns("Name|Node|Driver|Pool|Age"),
		Cells: func(s *resourcev1.ResourceSlice, now time.Time) []any {
			return []any{s.Name, deref(s.Spec.NodeName), s.Spec.Driver, s.Spec.Pool.Name, age(s.CreationTimestamp, now)}
		},
		Fields: func(s *resourcev1.ResourceSlice) fields.Set {
			return fields.Set{"spec.nodeName": deref(s.Spec.NodeName), "spec.driver": s.Spec.Driver}
		},
	})
}

func deviceTaintRule() *Kind {
	return define(Spec[*resourcev1.DeviceTaintRule]{
		GVK: device("DeviceTaintRule"), Resource: "devicetaintrules", Singular: "devicetaintrule",
		New:     func() *resourcev1.DeviceTaintRule { return &resourcev1.DeviceTaintRule{} },
		NewList: func() runtime.Object { return &resourcev1.DeviceTaintRuleList{} },
		Life: generations(func(o *resourcev1.DeviceTaintRule) (*resourcev1.DeviceTaintRuleSpec, *resourcev1.DeviceTaintRuleStatus) {
			return &o.Spec, &o.Status
		}),
		Validate: func(r *resourcev1.DeviceTaintRule) field.ErrorList {
			var e check.Errors
			e.NotEmpty(field.NewPath("spec", "taint", "key"), r.Spec.Taint.Key)
			return e.List()
		},
	})
}
