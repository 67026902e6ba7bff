package registry

import (
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"karve.dev/karve/services/api/registry/check"
)

func endpoints() *Kind {
	k := define(Spec[*corev1.Endpoints]{
		GVK: core("Endpoints"), Resource: "endpoints", Singular: "endpoints", ShortNames: []string{"ep"}, Namespaced: true,
		New:     func() *corev1.Endpoints { return &corev1.Endpoints{} },
		NewList: func() runtime.Object { return &corev1.EndpointsList{} },
		Default: func(e *corev1.Endpoints) {
			for i := range e.Subsets {
				for j := range e.Subsets[i].Ports {
					set(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
				}
			}
		},
		Validate: validateEndpoints,
		Columns:  columns("Name|Endpoints|Age"),
		Cells: func(e *corev1.Endpoints, now time.Time) []any {
			return []any{e.Name, few(endpointAddresses(e), none), age(e.CreationTimestamp, now)}
		},
	})
	k.Deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
	return k
}

// endpointAddresses are all ready addresses with each of their ports, bare where there are no ports.
func endpointAddresses(e *corev1.Endpoints) []string {
	var all []string
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return all
}

func validateEndpoints(ep *corev1.Endpoints) field.ErrorList {
	var e check.Errors
	for i, s := range ep.Subsets {
		p := field.NewPath("subsets").Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			e.Required(p, "must specify `addresses` or `notReadyAddresses`")
		}
		for j := range s.Addresses {
			validateEndpointAddress(&e, p.Child("addresses").Index(j), &s.Addresses[j])
		}
		for j := range s.NotReadyAddresses {
			validateEndpointAddress(&e, p.Child("notReadyAddresses").Index(j), &s.NotReadyAddresses[j])
		}
		for j, port := range s.Ports {
			at := p.Child("ports").Index(j)
			if len(s.Ports) > 1 && e.NotEmpty(at.Child("name"), port.Name) || port.Name != "" {
				e.Label(at.Child("name"), port.Name)
			}
			e.Port(at.Child("port"), port.Port)
			check.OneOf(&e, at.Child("protocol"), port.Protocol, protocols...)
			if port.AppProtocol != nil {
				e.Qualified(at.Child("appProtocol"), *port.AppProtocol)
			}
		}
	}
	return e.List()
}

// protocols are what a port may speak.
var protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

func validateEndpointAddress(e *check.Errors, p *field.Path, a *corev1.EndpointAddress) {
	e.EndpointIP(p.Child("ip"), a.IP)
	e.If(netutils.ParseIPSloppy(a.IP) == nil, p.Child("ip"), a.IP, "must be a valid IP address")
	if a.Hostname != "" {
		e.Label(p.Child("hostname"), a.Hostname)
	}
	if a.NodeName != nil {
		e.Subdomain(p.Child("nodeName"), *a.NodeName)
	}
}
