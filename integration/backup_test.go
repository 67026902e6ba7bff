package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestBackupAndRestore: what was deleted comes back, what came later goes, and pods that are in both run on; a damaged
// file changes nothing; a cluster that is gone is made again from its backup.
func TestBackupAndRestore(t *testing.T) {
	c := cluster.Start(t)
	file := filepath.Join(t.TempDir(), "monday.karve")
	c.Kubectl("apply", "-f", filepath.Join(cluster.Root(t), "examples", "my-app.yaml"))
	c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
	c.Kubectl("create", "secret", "generic", "password", "--from-literal=p=hunter2")
	pods, containers := podNames(c, "app=my-app"), c.Containers()
	out, err := c.Karve("backup", file)
	require.NoError(t, err, out)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	c.Kubectl("delete", "secret", "password")
	c.Kubectl("create", "configmap", "later")
	out, err = c.Karve("rotate-key")
	require.NoError(t, err, out)
	damaged(t, c, file)
	out, err = c.Karve("restore", file)
	require.NoError(t, err, out)
	require.Equal(t, "aHVudGVyMg==", c.Kubectl("get", "secret", "password", "-o", "jsonpath={.data.p}"))
	require.Contains(t, c.KubectlFails("", "get", "configmap", "later"), "not found")
	c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
	require.Equal(t, pods, podNames(c, "app=my-app"))
	require.Equal(t, containers, c.Containers(), "no container was started anew")

	out, err = c.Karve("down", "--purge")
	require.NoError(t, err, out)
	out, err = c.Karve("restore", file)
	require.NoError(t, err, out)
	c.Kubectl("rollout", "status", "deployment/my-app", "--timeout=60s")
	require.Equal(t, pods, podNames(c, "app=my-app"))
	require.Equal(t, "aHVudGVyMg==", c.Kubectl("get", "secret", "password", "-o", "jsonpath={.data.p}"))
}

// damaged restores a file of which one byte is wrong.
func damaged(t *testing.T, c *cluster.Cluster, file string) {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	content[len(content)/2] ^= 1
	broken := filepath.Join(t.TempDir(), "broken.karve")
	require.NoError(t, os.WriteFile(broken, content, 0o600))
	out, err := c.Karve("restore", broken)
	require.Error(t, err, out)
	require.Contains(t, out, "the backup is damaged")
	c.Kubectl("get", "configmap", "later")
}
