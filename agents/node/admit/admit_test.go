package admit

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func asks(cpu string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{}}}}
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	return p
}

func with(change func(*corev1.PodSpec)) *corev1.Pod {
	p := asks("0")
	p.Spec.SecurityContext = &corev1.PodSecurityContext{}
	change(&p.Spec)
	return p
}

func setting(name string) *corev1.Pod {
	return with(func(s *corev1.PodSpec) { s.SecurityContext.Sysctls = []corev1.Sysctl{{Name: name, Value: "1"}} })
}

func publishes(ip string, port int32) *corev1.Pod {
	return with(func(s *corev1.PodSpec) { s.Containers[0].Ports = []corev1.ContainerPort{{HostIP: ip, HostPort: port}} })
}

func TestPortsOfTheMachineAreTakenOnce(t *testing.T) {
	facts := &Facts{Others: []*corev1.Pod{publishes("", 80), publishes("10.0.0.1", 81)}}
	for what, c := range map[string]struct {
		pod   *corev1.Pod
		taken bool
	}{
		"another port":         {publishes("", 82), false},
		"the same port":        {publishes("", 80), true},
		"on one address":       {publishes("10.0.0.1", 80), true},
		"on all, taken on one": {publishes("0.0.0.0", 81), true},
		"on another address":   {publishes("10.0.0.2", 81), false},
		"none":                 {asks("0"), false},
		"the same, of another kind": {with(func(s *corev1.PodSpec) {
			s.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, Protocol: corev1.ProtocolUDP}}
		}), false},
	} {
		refused := Check(c.pod, facts)
		require.Equal(t, c.taken, refused != nil, what)
		require.True(t, refused == nil || refused.Reason == "NodePorts", what)
	}
}

func TestWhatANodeTakes(t *testing.T) {
	no := false
	facts := &Facts{
		Node:          &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"disk": "fast"}}},
		Allocatable:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourcePods: resource.MustParse("3")},
		Others:        []*corev1.Pod{asks("1"), asks("500m")},
		UnsafeSysctls: []string{"kernel.msg*", "net.core.somaxconn"},
	}
	onHost := setting("net.ipv4.tcp_syncookies")
	onHost.Spec.HostNetwork = true
	for what, c := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"what fits":             {asks("500m"), ""},
		"too much":              {asks("501m"), "OutOfcpu: Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000"},
		"asks for nothing":      {asks("0"), ""},
		"a label that is there": {with(func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "fast"} }), ""},
		"one that is not":       {with(func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "slow"} }), "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"},
		"another system":        {with(func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Windows} }), "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"},
		"a profile": {with(func(s *corev1.PodSpec) {
			s.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
		}), "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host"},
		"users of its own":    {with(func(s *corev1.PodSpec) { s.HostUsers = &no }), "UserNamespacesNotSupported: can't set `spec.hostUsers: false`, runtime does not support user namespaces"},
		"a safe parameter":    {setting("net/ipv4/tcp_syncookies"), ""},
		"an unsafe one":       {setting("kernel.sem"), `SysctlForbidden: forbidden sysctl: "kernel.sem" not allowlisted`},
		"one that is allowed": {setting("kernel.msgmax"), ""},
		"the machine's":       {onHost, `SysctlForbidden: forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled`},
	} {
		got := ""
		if r := Check(c.pod, facts); r != nil {
			got = r.Reason + ": " + r.Message
		}
		require.Equal(t, c.want, got, what)
	}
	facts.Others = append(facts.Others, asks("0"))
	require.Equal(t, "OutOfpods", Check(asks("0"), facts).Reason)
	got, err := ParseSysctls("net.*,kernel.sem")
	require.NoError(t, err)
	require.Equal(t, []string{"net.*", "kernel.sem"}, got)
	_, err = ParseSysctls("vm.swappiness")
	require.ErrorContains(t, err, `"vm.swappiness" would change the whole machine`)
}
