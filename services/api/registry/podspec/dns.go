package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// What a resolver takes.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// validateDNS checks the pod's resolver; p is the spec's path.
func (s *scope) validateDNS(p *field.Path) {
	policy, c, at := s.spec.DNSPolicy, s.spec.DNSConfig, p.Child("dnsConfig")
	check.OneOf(s.Errors, p.Child("dnsPolicy"), policy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	if policy == corev1.DNSNone {
		if c == nil {
			s.Required(at, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", policy))
			return
		}
		if len(c.Nameservers) == 0 {
			s.Required(at.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", policy))
			return
		}
	}
	if c == nil {
		return
	}
	s.If(len(c.Nameservers) > maxNameservers, at.Child("nameservers"), c.Nameservers, fmt.Sprintf("must not have more than %d nameservers", maxNameservers))
	for i, ns := range c.Nameservers {
		s.IP(at.Child("nameservers").Index(i), ns)
	}
	searches := at.Child("searches")
	s.If(len(c.Searches) > maxSearches, searches, c.Searches, fmt.Sprintf("must not have more than %d search paths", maxSearches))
	s.If(len(strings.Join(c.Searches, " ")) > maxSearchChars, searches, c.Searches,
		fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", maxSearchChars))
	for i, search := range c.Searches {
		// A single dot is the root.
		if search != "." {
			s.Messages(searches.Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(strings.TrimSuffix(search, ".")))
		}
	}
	for i, o := range c.Options {
		if o.Name == "" {
			s.Required(at.Child("options").Index(i), "must not be empty")
		}
	}
}
