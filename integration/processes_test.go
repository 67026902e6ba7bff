package integration

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestEveryPartAsItsOwnProcess runs the cluster that one process runs otherwise: ten processes over mTLS. Each may be
// killed and started again, and work goes on.
func TestEveryPartAsItsOwnProcess(t *testing.T) {
	p := cluster.StartProcesses(t)
	p.Eventually("the node is Ready", func() string {
		if _, err := p.TryKubectl("", "wait", "--for=condition=Ready", "node", "--all", "--timeout=1s"); err != nil {
			return err.Error()
		}
		return ""
	})
	p.Eventually("the default service account is there", func() string {
		out, err := p.TryKubectl("", "get", "serviceaccount", "default")
		if err != nil {
			return out
		}
		return ""
	})
	p.Kubectl("apply", "-f", filepath.Join(cluster.Root(t), "examples", "my-app.yaml"))
	p.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
	before := podNames(p.Cluster, "app=my-app")
	require.Len(t, before, 3)
	serviceTakesTurns(t, p.Cluster, before)

	streamsCross(t, p.Cluster)

	replicas := []string{"4", "5"}
	for i, part := range cluster.Parts {
		p.Kill(part)
		p.StartPart(part)
		want := replicas[i%2]
		p.Eventually("work goes on after "+part+" was killed", func() string {
			out, err := p.TryKubectl("", "scale", "deployment/my-app", "--replicas="+want)
			if err != nil {
				return out
			}
			out, err = p.TryKubectl("", "rollout", "status", "deployment/my-app", "--timeout=20s")
			if err != nil {
				return out
			}
			return ""
		})
	}
	after := podNames(p.Cluster, "app=my-app")
	for _, pod := range before {
		require.Contains(t, after, pod, "no pod was lost or replaced")
	}
}

// streamsCross runs a command and reads a log, from one process to the next and back.
func streamsCross(t *testing.T, c *cluster.Cluster) {
	input := strings.Repeat("through four processes ", 100000)
	out, err := c.TryKubectl(input, "exec", "-i", "deployment/my-app", "--", "sh", "-c", "sha256sum; exit 3")
	require.Error(t, err)
	require.Equal(t, fmt.Sprintf("%x  -\ncommand terminated with exit code 3\n", sha256.Sum256([]byte(input))), out)
	require.Contains(t, c.Kubectl("logs", "deployment/my-app"), "my-app version 1 listens")
}
