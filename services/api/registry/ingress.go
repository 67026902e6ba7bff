package registry

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func networking(kind string) schema.GroupVersionKind { return gvk("networking.k8s.io", "v1", kind) }

func ingress() *Kind {
	return define(Spec[*networkingv1.Ingress]{
		GVK: networking("Ingress"), Resource: "ingresses", Singular: "ingress", ShortNames: []string{"ing"}, Namespaced: true,
		New:     func() *networkingv1.Ingress { return &networkingv1.Ingress{} },
		NewList: func() runtime.Object { return &networkingv1.IngressList{} },
		Life: generations(func(o *networkingv1.Ingress) (*networkingv1.IngressSpec, *networkingv1.IngressStatus) {
			return &o.Spec, &o.Status
		}),
		Validate: validateIngress,
		Columns:  columns("Name|Class|Hosts|Address|Ports|Age"),
		Cells: func(i *networkingv1.Ingress, now time.Time) []any {
			ports := "80"
			if len(i.Spec.TLS) > 0 {
				ports = "80, 443"
			}
			return []any{i.Name, orNone(deref(i.Spec.IngressClassName)), ingressHosts(i.Spec.Rules), ingressAddress(i), ports, age(i.CreationTimestamp, now)}
		},
	})
}

func ingressHosts(rules []networkingv1.IngressRule) string {
	var hosts []string
	for _, r := range rules {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	return few(hosts, "*")
}

func ingressAddress(i *networkingv1.Ingress) string {
	var all []string
	for _, in := range i.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			all = append(all, in.IP)
		} else if in.Hostname != "" {
			all = append(all, in.Hostname)
		}
	}
	return strings.Join(all, ",")
}

func validateIngress(i *networkingv1.Ingress) field.ErrorList {
	var e check.Errors
	p, s := field.NewPath("spec"), &i.Spec
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		e.Invalid(p, s.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	if s.DefaultBackend != nil {
		validateBackend(&e, p.Child("defaultBackend"), s.DefaultBackend)
	}
	if c := s.IngressClassName; c != nil {
		e.Subdomain(p.Child("ingressClassName"), *c)
	}
	for n, t := range s.TLS {
		for m, h := range t.Hosts {
			validateHost(&e, p.Child("tls").Index(n).Child("hosts").Index(m), h)
		}
	}
	for n := range s.Rules {
		r, at := &s.Rules[n], p.Child("rules").Index(n)
		if r.Host != "" {
			e.If(isIP(r.Host), at.Child("host"), r.Host, "must be a DNS name, not an IP address")
			validateHost(&e, at.Child("host"), r.Host)
		}
		if r.HTTP == nil {
			continue
		}
		if len(r.HTTP.Paths) == 0 {
			e.Required(at.Child("http", "paths"), "")
		}
		for m := range r.HTTP.Paths {
			validateIngressPath(&e, at.Child("http", "paths").Index(m), &r.HTTP.Paths[m])
		}
	}
	return e.List()
}

func isIP(s string) bool { return len(validation.IsValidIP(field.NewPath(""), s)) == 0 }

func validateHost(e *check.Errors, p *field.Path, host string) {
	if strings.Contains(host, "*") {
		e.Messages(p, host, validation.IsWildcardDNS1123Subdomain(host))
		return
	}
	e.Subdomain(p, host)
}

// notInPaths are parts that a reader of the path might take for another path.
var notInPaths = []string{"//", "/./", "/../", "%2f", "%2F"}

func validateIngressPath(e *check.Errors, p *field.Path, h *networkingv1.HTTPIngressPath) {
	if h.PathType == nil {
		e.Required(p.Child("pathType"), "pathType must be specified")
		return
	}
	at := p.Child("path")
	switch *h.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !strings.HasPrefix(h.Path, "/") {
			e.Invalid(at, h.Path, "must be an absolute path")
		}
		for _, part := range notInPaths {
			e.If(strings.Contains(h.Path, part), at, h.Path, "must not contain '"+part+"'")
		}
		for _, end := range []string{"/..", "/."} {
			e.If(strings.HasSuffix(h.Path, end), at, h.Path, "cannot end with '"+end+"'")
		}
	case networkingv1.PathTypeImplementationSpecific:
		e.If(h.Path != "" && !strings.HasPrefix(h.Path, "/"), at, h.Path, "must be an absolute path")
	default:
		check.Among(e, p.Child("pathType"), *h.PathType, networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
	}
	validateBackend(e, p.Child("backend"), &h.Backend)
}

func validateBackend(e *check.Errors, p *field.Path, b *networkingv1.IngressBackend) {
	switch {
	case b.Service != nil && b.Resource != nil:
		e.Invalid(p, "", "cannot set both resource and service backends")
	case b.Resource != nil:
		validateParameters(e, p.Child("resource"), b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name)
	case b.Service == nil:
		e.Invalid(p, "", "resource or service backend is required")
	default:
		at := p.Child("service")
		if e.NotEmpty(at.Child("name"), b.Service.Name) {
			e.Messages(at.Child("name"), b.Service.Name, serviceName(b.Service.Name, false))
		}
		switch port := b.Service.Port; {
		case port.Name != "" && port.Number != 0:
			e.Invalid(p, "", "cannot set both port name & port number")
		case port.Name != "":
			e.Messages(at.Child("port", "name"), port.Name, validation.IsValidPortName(port.Name))
		case port.Number != 0:
			e.Port(at.Child("port", "number"), port.Number)
		default:
			e.Required(p, "port name or number is required")
		}
	}
}

// validateParameters checks how an object of any kind is named.
func validateParameters(e *check.Errors, p *field.Path, group *string, kind, name string) {
	if group != nil && *group != "" {
		e.Subdomain(p.Child("apiGroup"), *group)
	}
	for _, f := range []struct{ name, value string }{{"kind", kind}, {"name", name}} {
		if e.NotEmpty(p.Child(f.name), f.value) {
			e.Messages(p.Child(f.name), f.value, path.IsValidPathSegmentName(f.value))
		}
	}
}

// validateClassParameters checks where the parameters of a class are: in a namespace, or in none.
func validateClassParameters(e *check.Errors, p *field.Path, r *networkingv1.IngressClassParametersReference) {
	validateParameters(e, p, r.APIGroup, r.Kind, r.Name)
	at := p.Child("namespace")
	switch scope := deref(r.Scope); {
	case scope == networkingv1.IngressClassParametersReferenceScopeNamespace && r.Namespace == nil:
		e.Required(at, "`parameters.scope` is set to 'Namespace'")
	case scope == networkingv1.IngressClassParametersReferenceScopeNamespace:
		e.Label(at, *r.Namespace)
	case scope == networkingv1.IngressClassParametersReferenceScopeCluster && r.Namespace != nil:
		e.Forbidden(at, "`parameters.scope` is set to 'Cluster'")
	default:
		check.Among(e, p.Child("scope"), scope, networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)
	}
}

func ingressClass() *Kind {
	return define(Spec[*networkingv1.IngressClass]{
		GVK: networking("IngressClass"), Resource: "ingressclasses", Singular: "ingressclass",
		New:     func() *networkingv1.IngressClass { return &networkingv1.IngressClass{} },
		NewList: func() runtime.Object { return &networkingv1.IngressClassList{} },
		Life:    counted(func(c *networkingv1.IngressClass) any { return c.Spec }),
		Default: func(c *networkingv1.IngressClass) {
			if c.Spec.Parameters != nil {
				point(&c.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
			}
		},
		Validate: func(c *networkingv1.IngressClass) field.ErrorList {
			const longest = 250
			var e check.Errors
			at := field.NewPath("spec", "controller")
			if len(c.Spec.Controller) > longest {
				e.Add(field.TooLong(at, c.Spec.Controller, longest))
			}
			e.Add(validation.IsDomainPrefixedPath(at, c.Spec.Controller)...)
			if c.Spec.Parameters != nil {
				validateClassParameters(&e, field.NewPath("spec", "parameters"), c.Spec.Parameters)
			}
			return e.List()
		},
		ValidateUpdate: func(c, old *networkingv1.IngressClass) field.ErrorList {
			var e check.Errors
			e.Immutable(field.NewPath("spec", "controller"), c.Spec.Controller, old.Spec.Controller)
			return e.List()
		},
		Columns: columns("Name|Controller|Parameters|Age"),
		Cells: func(c *networkingv1.IngressClass, now time.Time) []any {
			parameters := none
			if p := c.Spec.Parameters; p != nil {
				parameters = p.Kind
				if g := deref(p.APIGroup); g != "" {
					parameters += "." + g
				}
				parameters += "/" + p.Name
			}
			return []any{c.Name, c.Spec.Controller, parameters, age(c.CreationTimestamp, now)}
		},
	})
}
