package registry

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"karve.dev/karve/services/api/registry/check"
)

func ipAddress() *Kind {
	return define(Spec[*networkingv1.IPAddress]{
		GVK: networking("IPAddress"), Resource: "ipaddresses", Singular: "ipaddress", ShortNames: []string{"ip"},
		New:     func() *networkingv1.IPAddress { return &networkingv1.IPAddress{} },
		NewList: func() runtime.Object { return &networkingv1.IPAddressList{} },
		Validate: func(a *networkingv1.IPAddress) field.ErrorList {
			var e check.Errors
			p := field.NewPath("spec", "parentRef")
			if a.Spec.ParentRef == nil {
				e.Required(p, "")
				return e.List()
			}
			e.NotEmpty(p.Child("resource"), a.Spec.ParentRef.Resource)
			e.NotEmpty(p.Child("name"), a.Spec.ParentRef.Name)
			return e.List()
		},
		ValidateUpdate: func(a, old *networkingv1.IPAddress) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec", "parentRef"), a.Spec.ParentRef, old.Spec.ParentRef)
			return e.List()
		},
		ValidateName: func(name string, _ bool) []string {
			var msgs []string
			for _, err := range validation.IsValidIP(field.NewPath(""), name) {
				msgs = append(msgs, err.Detail)
			}
			return msgs
		},
		Columns: columns("Name|ParentRef"),
		Cells: func(a *networkingv1.IPAddress, _ time.Time) []any {
			r := a.Spec.ParentRef
			if r == nil {
				return []any{a.Name, none}
			}
			parent := strings.ToLower(r.Resource)
			if r.Group != "" {
				parent += "." + r.Group
			}
			return []any{a.Name, parent + "/" + r.Namespace + "/" + r.Name}
		},
	})
}

func serviceCIDR() *Kind {
	return define(Spec[*networkingv1.ServiceCIDR]{
		GVK: networking("ServiceCIDR"), Resource: "servicecidrs", Singular: "servicecidr",
		New:     func() *networkingv1.ServiceCIDR { return &networkingv1.ServiceCIDR{} },
		NewList: func() runtime.Object { return &networkingv1.ServiceCIDRList{} },
		Life: specAndStatus(func(o *networkingv1.ServiceCIDR) (*networkingv1.ServiceCIDRSpec, *networkingv1.ServiceCIDRStatus) {
			return &o.Spec, &o.Status
		}),
		Validate: func(c *networkingv1.ServiceCIDR) field.ErrorList {
			const most = 2
			var e check.Errors
			p := field.NewPath("spec", "cidrs")
			if len(c.Spec.CIDRs) == 0 {
				e.Required(p, "at least one CIDR required")
			}
			e.If(len(c.Spec.CIDRs) > most, p, c.Spec.CIDRs, "may only hold up to 2 values")
			if dual, err := netutils.IsDualStackCIDRStrings(c.Spec.CIDRs); len(c.Spec.CIDRs) == most && err == nil && !dual {
				e.Invalid(p, c.Spec.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
			}
			for i, cidr := range c.Spec.CIDRs {
				e.Add(validation.IsValidCIDR(p.Index(i), cidr)...)
			}
			return e.List()
		},
		ValidateUpdate: func(c, old *networkingv1.ServiceCIDR) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec", "cidrs"), c.Spec.CIDRs, old.Spec.CIDRs)
			return e.List()
		},
		Columns: columns("Name|CIDRs|Age"),
		Cells: func(c *networkingv1.ServiceCIDR, now time.Time) []any {
			return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), age(c.CreationTimestamp, now)}
		},
	})
}
