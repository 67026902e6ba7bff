package worker

import (
	"fmt"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// What a resolver reads of a resolv.conf: the rest would be lost without a word.
const (
	maxServers     = 3
	maxSearch      = 32
	maxSearchPath  = 253
	maxSearchChars = 2048
)

// resolver is the content of a resolv.conf.
type resolver struct {
	servers, search, options []string
}

func hostResolver() *resolver {
	r := &resolver{}
	data, _ := os.ReadFile("/etc/resolv.conf") // a host without one has no servers to share
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			r.servers = append(r.servers, fields[1])
		case "search":
			r.search = fields[1:]
		case "options":
			r.options = append(r.options, fields[1:]...)
		}
	}
	return r
}

// resolver is what the pod's resolv.conf says, by its dnsPolicy and dnsConfig, and what was left out of it.
func (w *worker) resolver(pod *corev1.Pod) (r *resolver, omitted []string) {
	r = &resolver{}
	policy, dns := pod.Spec.DNSPolicy, w.pool.cfg.DNS
	inCluster := policy == corev1.DNSClusterFirstWithHostNet || (policy == corev1.DNSClusterFirst || policy == "") && !pod.Spec.HostNetwork
	switch {
	case policy == corev1.DNSNone:
	case inCluster && len(dns.Servers) > 0:
		r.servers = dns.Servers
		for _, part := range []string{pod.Namespace + ".svc.", "svc.", ""} {
			r.search = append(r.search, part+dns.Domain)
		}
		r.search = append(r.search, hostResolver().search...)
		r.options = []string{"ndots:5"}
	default:
		r = hostResolver()
	}
	if c := pod.Spec.DNSConfig; c != nil {
		r.servers = unique(append(slices.Clone(r.servers), c.Nameservers...))
		r.search = unique(append(r.search, c.Searches...))
		r.addOptions(c.Options)
	}
	return r, r.limit()
}

// limit leaves out what a resolver does not read, and says so.
func (r *resolver) limit() (omitted []string) {
	if len(r.servers) > maxServers {
		r.servers = r.servers[:maxServers]
		omitted = append(omitted, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(r.servers, " "))
	}
	fits := slices.DeleteFunc(slices.Clone(r.search), func(path string) bool { return len(path) > maxSearchPath })
	fits = fits[:min(len(fits), maxSearch)]
	for len(fits) > 0 && len(strings.Join(fits, " ")) > maxSearchChars {
		fits = fits[:len(fits)-1]
	}
	if len(fits) < len(r.search) {
		r.search = fits
		omitted = append(omitted, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(r.search, " "))
	}
	return omitted
}

// addOptions sets options by name: later ones take the place of earlier ones.
func (r *resolver) addOptions(options []corev1.PodDNSConfigOption) {
	for _, o := range options {
		r.options = slices.DeleteFunc(r.options, func(have string) bool {
			name, _, _ := strings.Cut(have, ":")
			return name == o.Name
		})
		text := o.Name
		if o.Value != nil {
			text += ":" + *o.Value
		}
		r.options = append(r.options, text)
	}
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (r *resolver) String() string {
	var b strings.Builder
	if len(r.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.search, " "))
	}
	for _, server := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.String()
}
