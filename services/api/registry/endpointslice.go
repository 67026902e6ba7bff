package registry

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func endpointSlice() *Kind {
	return define(Spec[*discoveryv1.EndpointSlice]{
		GVK: gvk("discovery.k8s.io", "v1", "EndpointSlice"), Resource: "endpointslices", Singular: "endpointslice", Namespaced: true,
		New:     func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} },
		NewList: func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		Life: counted(func(s *discoveryv1.EndpointSlice) any {
			return []any{s.Endpoints, s.Ports, s.AddressType, s.Labels, s.Annotations}
		}),
		Default:  defaultEndpointSlice,
		Validate: validateEndpointSlice,
		ValidateUpdate: func(s, old *discoveryv1.EndpointSlice) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("addressType"), s.AddressType, old.AddressType)
			return e.List()
		},
		Columns: columns("Name|AddressType|Ports|Endpoints|Age"),
		Cells: func(s *discoveryv1.EndpointSlice, now time.Time) []any {
			var addresses []string
			for i := range s.Endpoints {
				addresses = append(addresses, s.Endpoints[i].Addresses...)
			}
			const unset = "<unset>"
			return []any{s.Name, string(s.AddressType), few(slicePorts(s.Ports), unset), few(addresses, unset), age(s.CreationTimestamp, now)}
		},
	})
}

func slicePorts(ports []discoveryv1.EndpointPort) []string {
	var all []string
	for _, p := range ports {
		switch {
		case p.Port != nil:
			all = append(all, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			all = append(all, *p.Name)
		default:
			all = append(all, "*")
		}
	}
	return all
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		if s.Ports[i].Name == nil {
			s.Ports[i].Name = new(string)
		}
		if s.Ports[i].Protocol == nil {
			tcp := corev1.ProtocolTCP
			s.Ports[i].Protocol = &tcp
		}
	}
}

func validateEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	const maxEndpoints, maxPorts = 1000, 20000
	var e check.Errors
	known := check.OneOf(&e, field.NewPath("addressType"), s.AddressType, discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	p := field.NewPath("endpoints")
	if len(s.Endpoints) > maxEndpoints {
		e.Add(field.TooMany(p, len(s.Endpoints), maxEndpoints))
		return e.List()
	}
	for i := range s.Endpoints {
		validateEndpoint(&e, p.Index(i), &s.Endpoints[i], s.AddressType, known)
	}
	if len(s.Ports) > maxPorts {
		e.Add(field.TooMany(field.NewPath("ports"), len(s.Ports), maxPorts))
		return e.List()
	}
	names := map[string]bool{}
	for i := range s.Ports {
		validateSlicePort(&e, field.NewPath("ports").Index(i), &s.Ports[i], names)
	}
	return e.List()
}

func validateEndpoint(e *check.Errors, p *field.Path, ep *discoveryv1.Endpoint, t discoveryv1.AddressType, known bool) {
	const maxAddresses, maxZones, maxNodes = 100, 8, 8
	addresses := p.Child("addresses")
	if len(ep.Addresses) == 0 {
		e.Required(addresses, "")
	} else if len(ep.Addresses) > maxAddresses {
		e.Add(field.TooMany(addresses, len(ep.Addresses), maxAddresses))
	}
	for i, a := range ep.Addresses {
		if known {
			sliceAddress(e, addresses.Index(i), a, t)
		}
	}
	if ep.NodeName != nil {
		e.Subdomain(p.Child("nodeName"), *ep.NodeName)
	}
	topology := p.Child("deprecatedTopology")
	e.Add(metavalidation.ValidateLabels(ep.DeprecatedTopology, topology)...)
	if _, ok := ep.DeprecatedTopology[corev1.LabelHostname]; ok {
		e.Invalid(topology.Key(corev1.LabelHostname), ep.DeprecatedTopology[corev1.LabelHostname], "must not be set. use `nodeName` instead")
	}
	if ep.Hostname != nil {
		e.Label(p.Child("hostname"), *ep.Hostname)
	}
	if ep.Hints == nil {
		return
	}
	hints := p.Child("hints")
	if len(ep.Hints.ForZones) > maxZones {
		e.Add(field.TooMany(hints.Child("forZones"), len(ep.Hints.ForZones), maxZones))
	}
	if len(ep.Hints.ForNodes) > maxNodes {
		e.Add(field.TooMany(hints.Child("forNodes"), len(ep.Hints.ForNodes), maxNodes))
	}
}

func sliceAddress(e *check.Errors, p *field.Path, a string, t discoveryv1.AddressType) {
	switch t {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
		if e.IPOfFamily(p, a, corev1.IPFamily(t)) {
			e.EndpointIP(p, a)
		}
	case discoveryv1.AddressTypeFQDN:
		e.Add(validation.IsFullyQualifiedDomainName(p, a)...)
	}
}

func validateSlicePort(e *check.Errors, p *field.Path, port *discoveryv1.EndpointPort, names map[string]bool) {
	name := deref(port.Name)
	if names[name] {
		e.Duplicate(p.Child("name"), name)
	}
	names[name] = true
	if name != "" {
		e.Label(p.Child("name"), name)
	}
	check.OneOf(e, p.Child("protocol"), deref(port.Protocol), protocols...)
	if port.AppProtocol != nil {
		e.Qualified(p.Child("appProtocol"), *port.AppProtocol)
	}
}
