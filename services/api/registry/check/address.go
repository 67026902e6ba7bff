package check

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// Qualified reports a value that is no qualified name ("example.com/name").
func (e *Errors) Qualified(p *field.Path, value string) {
	e.Messages(p, value, validation.IsQualifiedName(value))
}

// IP reports a value that is no IP address and returns whether it is one.
func (e *Errors) IP(p *field.Path, value string) bool {
	errs := validation.IsValidIPForLegacyField(p, value, true, nil)
	e.Add(errs...)
	return len(errs) == 0
}

// CIDR reports a value that is no network.
func (e *Errors) CIDR(p *field.Path, value string) {
	e.Add(validation.IsValidCIDRForLegacyField(p, value, true, nil)...)
}

// IPOfFamily reports a value that is no address of the family.
func (e *Errors) IPOfFamily(p *field.Path, value string, family corev1.IPFamily) bool {
	if !e.IP(p, value) {
		return false
	}
	if six := netutils.IsIPv6String(value); six != (family == corev1.IPv6Protocol) {
		e.Invalid(p, value, "must be an "+string(family)+" address")
		return false
	}
	return true
}

// EndpointIP reports addresses to which a service must not send: they mean something else on every machine.
func (e *Errors) EndpointIP(p *field.Path, value string) {
	if !e.IP(p, value) {
		return
	}
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return
	}
	addr = addr.Unmap()
	for _, rule := range []struct {
		bad    bool
		detail string
	}{
		{addr.IsUnspecified(), "may not be unspecified (" + value + ")"},
		{addr.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		{addr.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{addr.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		e.If(rule.bad, p, value, rule.detail)
	}
}
