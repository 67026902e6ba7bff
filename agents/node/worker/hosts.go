package worker

import (
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxHostname is the longest host name that the kernel takes.
const maxHostname = 63

// maxFQDN is the longest full name that the kernel takes for a host name.
const maxFQDN = 64

// hostname is the short name of the pod.
func hostname(pod *corev1.Pod) string {
	name := pod.Name
	switch {
	case pod.Spec.HostnameOverride != nil:
		name = *pod.Spec.HostnameOverride
	case pod.Spec.Hostname != "":
		name = pod.Spec.Hostname
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// kernelHostname is what processes of the pod are told when they ask the kernel.
func kernelHostname(pod *corev1.Pod, domain string) (string, error) {
	name := hostname(pod)
	full := qualified(pod, name, domain)
	switch {
	case full == "" || !isTrue(pod.Spec.SetHostnameAsFQDN):
		return name, nil
	case len(full) > maxFQDN:
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)", full, maxFQDN, len(full))
	}
	return full, nil
}

// qualified is the pod's name in DNS, if it has one.
func qualified(pod *corev1.Pod, name, domain string) string {
	if pod.Spec.Subdomain == "" || domain == "" || pod.Spec.HostnameOverride != nil {
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
		name := hostname(s.pod)
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
