package node_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// answers tells what a server on an address says; "" when nothing does.
func answers(addr string) string {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, "?")
	data, _ := io.ReadAll(conn)
	return lastLine(string(data))
}

func TestHostPortLivesAsLongAsItsPod(t *testing.T) {
	w := newWorld(t, 12)
	published := func(name string) *corev1.Pod {
		return pod(name, corev1.Container{Ports: []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 21232, Protocol: corev1.ProtocolTCP}}})
	}
	w.create(published("a"))
	w.wait("a", "running", running)
	for _, host := range []string{"127.0.0.1", "10.232.12.1"} {
		require.Eventually(t, func() bool { return answers(host+":21232") == "a" }, 10*time.Second, 20*time.Millisecond)
	}
	w.stop()
	require.Equal(t, "a", answers("127.0.0.1:21232"), "the agent is not needed for it")
	w.start()
	w.delete("a", 1)
	w.wait("a", "gone", gone)
	require.Empty(t, answers("127.0.0.1:21232"))

	// A pod that has run to its end leaves its port to the next.
	b := published("b")
	b.Spec.RestartPolicy = corev1.RestartPolicyNever
	b.Spec.Containers[0].Args = []string{"exit", "0"}
	w.create(b)
	w.wait("b", "finished", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	w.create(published("c"))
	w.wait("c", "running", running)
	require.Eventually(t, func() bool { return answers("127.0.0.1:21232") == "c" }, 10*time.Second, 20*time.Millisecond)
}
