package worker

import (
	"fmt"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxHostname is the longest host name that the kernel takes.
const maxHostname = 63

// hostname is what processes of the pod are told.
func hostname(pod *corev1.Pod, domain string) string {
	name := pod.Spec.Hostname
	if name == "" {
		name = pod.Name
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	if isTrue(pod.Spec.SetHostnameAsFQDN) {
		if full := qualified(pod, name, domain); full != "" {
			return full
		}
	}
	return name
}

// qualified is the pod's name in DNS, if it has one.
func qualified(pod *corev1.Pod, name, domain string) string {
	if pod.Spec.Subdomain == "" || domain == "" {
		return ""
	}
	return strings.Join([]string{name, pod.Spec.Subdomain, pod.Namespace, "svc", domain}, ".")
}

// hostsFile is the pod's /etc/hosts.
func (s *starting) hostsFile() string {
	var b strings.Builder
	if s.pod.Spec.HostNetwork {
		host, _ := os.ReadFile("/etc/hosts") // a host without one has no names to share
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.Write(host)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n")
		for _, line := range []string{
			"127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", "fe00::0\tip6-localnet",
			"fe00::0\tip6-mcastprefix", "fe00::1\tip6-allnodes", "fe00::2\tip6-allrouters",
		} {
			b.WriteString(line + "\n")
		}
		name := hostname(s.pod, "")
		if full := qualified(s.pod, name, s.pool.cfg.DNS.Domain); full != "" {
			name = full + "\t" + name
		}
		for _, ip := range s.facts().PodIPs {
			b.WriteString(ip + "\t" + name + "\n")
		}
	}
	if len(s.pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, alias := range s.pod.Spec.HostAliases {
			b.WriteString(alias.IP + "\t" + strings.Join(alias.Hostnames, "\t") + "\n")
		}
	}
	return b.String()
}

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

// resolvFile is the pod's resolv.conf, by its dnsPolicy and dnsConfig.
func (s *starting) resolvFile() string {
	r := &resolver{}
	policy, dns := s.pod.Spec.DNSPolicy, s.pool.cfg.DNS
	inCluster := policy == corev1.DNSClusterFirstWithHostNet || (policy == corev1.DNSClusterFirst || policy == "") && !s.pod.Spec.HostNetwork
	switch {
	case policy == corev1.DNSNone:
	case inCluster && len(dns.Servers) > 0:
		r.servers = dns.Servers
		for _, part := range []string{s.namespace + ".svc.", "svc.", ""} {
			r.search = append(r.search, part+dns.Domain)
		}
		r.search = append(r.search, hostResolver().search...)
		r.options = []string{"ndots:5"}
	default:
		r = hostResolver()
	}
	if c := s.pod.Spec.DNSConfig; c != nil {
		r.servers = unique(append(slices.Clone(r.servers), c.Nameservers...))
		r.search = unique(append(r.search, c.Searches...))
		r.addOptions(c.Options)
	}
	return r.String()
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
