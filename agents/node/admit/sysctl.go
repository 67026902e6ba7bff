package admit

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const sysctlForbidden = "SysctlForbidden"

// safe are the kernel parameters that belong to a pod alone and harm no other.
// See https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/.
var safe = map[string]bool{
	"kernel.shm_rmid_forced":              true,
	"net.ipv4.ip_local_port_range":        true,
	"net.ipv4.ip_local_reserved_ports":    true,
	"net.ipv4.ip_unprivileged_port_start": true,
	"net.ipv4.ping_group_range":           true,
	"net.ipv4.tcp_fin_timeout":            true,
	"net.ipv4.tcp_keepalive_intvl":        true,
	"net.ipv4.tcp_keepalive_probes":       true,
	"net.ipv4.tcp_keepalive_time":         true,
	"net.ipv4.tcp_notsent_lowat":          true,
	"net.ipv4.tcp_rmem":                   true,
	"net.ipv4.tcp_slow_start_after_idle":  true,
	"net.ipv4.tcp_syncookies":             true,
	"net.ipv4.tcp_wmem":                   true,
}

type namespace struct {
	prefix string
	ipc    bool
}

// namespaced says which of a pod's namespaces a parameter belongs to; parameters of others would be the machine's.
var namespaced = []namespace{{"kernel.shm", true}, {"kernel.msg", true}, {"kernel.sem", true}, {"fs.mqueue.", true}, {"net.", false}}

func parameters(pod *corev1.Pod, facts *Facts) *Refusal {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := strings.ReplaceAll(s.Name, "/", ".")
		if !safe[name] && !matches(name, facts.UnsafeSysctls) {
			return &Refusal{sysctlForbidden, fmt.Sprintf("forbidden sysctl: %q not allowlisted", name)}
		}
		if shared := sharedNamespace(name, &pod.Spec); shared != "" {
			return &Refusal{sysctlForbidden, fmt.Sprintf("forbidden sysctl: %q not allowed with host %s enabled", name, shared)}
		}
	}
	return nil
}

func matches(name string, patterns []string) bool {
	for _, p := range patterns {
		if prefix, all := strings.CutSuffix(p, "*"); name == p || all && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// sharedNamespace names the namespace of a parameter when the pod shares it with the machine.
func sharedNamespace(name string, spec *corev1.PodSpec) string {
	for _, n := range namespaced {
		switch {
		case !strings.HasPrefix(name, n.prefix):
		case n.ipc && spec.HostIPC:
			return "IPC"
		case !n.ipc && spec.HostNetwork:
			return "net"
		}
	}
	return ""
}

// ParseSysctls reads a list of kernel parameters, "kernel.msg*,net.core.somaxconn". It fails for those that pods share with
// the machine.
func ParseSysctls(list string) ([]string, error) {
	out := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range out {
		if !slices.ContainsFunc(namespaced, func(n namespace) bool { return strings.HasPrefix(name, n.prefix) }) {
			return nil, fmt.Errorf("allowed unsafe sysctls: %q would change the whole machine: only kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.* belong to a pod", name)
		}
	}
	return out, nil
}
