package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestClients runs what users write with client-go and controller-runtime (informers, leader election, the dynamic client, an
// operator with a webhook): the tests of the module in clients.
func TestClients(t *testing.T) {
	c := cluster.Start(t)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=5m", "-v", ".")
	cmd.Dir = filepath.Join(cluster.Root(t), "integration", "clients")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "--- SKIP")
}
