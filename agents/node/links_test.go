package node_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestContainersAreToldOfServices(t *testing.T) {
	w := newWorld(t, 13)
	service := func(namespace, name, ip string, ports ...corev1.ServicePort) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.set("Service", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}})
	}
	service("default", "kubernetes", "10.96.0.1", corev1.ServicePort{Name: "https", Port: 443})
	service("default", "my-db", "10.96.4.2", corev1.ServicePort{Name: "sql", Port: 5432}, corev1.ServicePort{Name: "stats", Port: 99, Protocol: corev1.ProtocolUDP})
	service("default", "bare", corev1.ClusterIPNone, corev1.ServicePort{Port: 1})
	service("elsewhere", "other", "10.96.4.3", corev1.ServicePort{Port: 1})
	variables := func(p *corev1.Pod) []string {
		w.create(p)
		return strings.Split(strings.TrimSpace(w.output(p.Name)), "\n")
	}
	told := once("told", "env")
	told.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "URL", Value: "db=$(MY_DB_SERVICE_HOST)"}, {Name: "MY_DB_SERVICE_PORT", Value: "mine"}}
	out := variables(told)
	require.Subset(t, out, []string{
		"KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT_HTTPS=443",
		"MY_DB_SERVICE_HOST=10.96.4.2", "MY_DB_SERVICE_PORT=mine", "MY_DB_SERVICE_PORT_SQL=5432", "MY_DB_SERVICE_PORT_STATS=99",
		"MY_DB_PORT=tcp://10.96.4.2:5432", "MY_DB_PORT_5432_TCP=tcp://10.96.4.2:5432", "MY_DB_PORT_5432_TCP_PROTO=tcp",
		"MY_DB_PORT_5432_TCP_PORT=5432", "MY_DB_PORT_5432_TCP_ADDR=10.96.4.2", "MY_DB_PORT_99_UDP=udp://10.96.4.2:99", "URL=db=10.96.4.2",
	})
	require.NotContains(t, strings.Join(out, "\n"), "BARE_")
	require.NotContains(t, strings.Join(out, "\n"), "OTHER_")

	quiet, off := once("quiet", "env"), false
	quiet.Spec.EnableServiceLinks = &off
	text := strings.Join(variables(quiet), "\n")
	require.Contains(t, text, "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1")
	require.NotContains(t, text, "MY_DB")
}
