package node_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// ask connects to a pod's server and returns what it says.
func ask(t *testing.T, ip string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, "8080"), 5*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	data, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(data)
}

func TestPodRunsAndGoes(t *testing.T) {
	w := newWorld(t, 1)
	begun := time.Now()
	w.create(pod("web", corev1.Container{}))
	p := w.wait("web", "running", running)
	t.Logf("created to running: %s", time.Since(begun))
	require.Contains(t, ask(t, p.Status.PodIP), "web", "the host name is the pod's")
	require.Equal(t, "10.232.1.2", p.Status.PodIP)
	require.NotEmpty(t, p.Status.HostIP)
	require.True(t, strings.HasPrefix(p.Status.ContainerStatuses[0].ContainerID, "docker://"))
	require.NotEmpty(t, p.Status.ContainerStatuses[0].ImageID)
	w.waitEvent("is used from the engine")
	w.waitEvent("Started Container started")

	w.delete("web", 5)
	w.wait("web", "gone", gone)
	w.waitEvent("Killing Stopping container app")
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.acked == w.revision && w.beats > 0
	}, 5*time.Second, 5*time.Millisecond, "revisions are acknowledged")
	_ = context.Background
}
