package integration

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestUpSaysWhatIsWrong: each thing that keeps a cluster from starting is one line that says what to do.
func TestUpSaysWhatIsWrong(t *testing.T) {
	up := func(c *cluster.Cluster, args ...string) string {
		out, err := c.Karve("up", args...)
		require.Error(t, err, out)
		require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 1, out)
		return out
	}
	t.Run("a port that is taken", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		require.Contains(t, up(cluster.New(t), "--listen", l.Addr().String()), l.Addr().String()+" is taken by another process")
	})
	t.Run("no engine", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
		c := cluster.New(t)
		require.Contains(t, up(c, "--listen", c.Listen), "the Docker Engine does not answer at /nowhere/docker.sock: install it")
	})
	t.Run("a full disk", func(t *testing.T) {
		small := t.TempDir()
		require.NoError(t, exec.Command("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small).Run())
		defer func() { require.NoError(t, exec.Command("umount", small).Run()) }()
		c := cluster.New(t)
		c.DataDir = filepath.Join(small, "data")
		require.Contains(t, up(c, "--listen", c.Listen), "is full (")
	})
	t.Run("a name that another data directory has", func(t *testing.T) {
		first, second := cluster.Start(t), cluster.New(t)
		before := first.Containers()
		second.Name = first.Name
		require.Contains(t, up(second, "--listen", second.Listen), "in "+first.DataDir+" already: choose another --name")
		require.Equal(t, before, first.Containers())
	})
	t.Run("nonsense", func(t *testing.T) {
		c := cluster.New(t)
		require.Contains(t, up(c, "--listen", "here"), "give host:port")
		require.Contains(t, up(c, "--listen", c.Listen, "--nodes", "0"), "give a number from 1 to 64")
		require.Contains(t, up(c, "--listen", c.Listen, "--dataplane", "magic"), "give auto, ipvs or nftables")
	})
	t.Run("not root", func(t *testing.T) {
		out, err := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", readableCopy(t, "karve"), "up", "--data-dir", "/tmp/karve-nobody").CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "run sudo karve up")
	})
}

// readableCopy puts a program where every user can run it.
func readableCopy(t *testing.T, name string) string {
	dir, err := os.MkdirTemp("/tmp", "karve-it-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	raw, err := os.ReadFile(cluster.Program(t, name))
	require.NoError(t, err)
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, raw, 0o755))
	return path
}

// TestUpDownStatus goes through a cluster's life, beside a second cluster that must not notice.
func TestUpDownStatus(t *testing.T) {
	c, other := cluster.New(t), cluster.Start(t)
	require.NoError(t, os.MkdirAll(filepath.Dir(c.Kubeconfig()), 0o700))
	require.NoError(t, os.WriteFile(c.Kubeconfig(), []byte(foreignKubeconfig), 0o600))

	out, err := c.Karve("status")
	require.Error(t, err)
	require.Contains(t, out, "there is no cluster in")

	out = c.Up()
	require.Contains(t, out, "kubectl get nodes")
	again, err := c.Karve("up")
	require.NoError(t, err)
	require.Contains(t, again, "is running (process "+c.PID()+")")
	require.NotContains(t, again, "counts at the next start", "nothing was changed")
	again, err = c.Karve("up", "--nodes", "2")
	require.NoError(t, err)
	require.Contains(t, again, "--nodes counts at the next start")

	merged, err := os.ReadFile(c.Kubeconfig())
	require.NoError(t, err)
	require.Contains(t, string(merged), "https://elsewhere.example:6443")
	require.Equal(t, c.Name+"\n", c.Kubectl("config", "current-context"))
	for _, secret := range []string{filepath.Join(c.DataDir, "kubeconfig"), filepath.Join(c.DataDir, "pki", "ca.key")} {
		info, err := os.Stat(secret)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), secret)
	}

	out, err = c.Karve("status")
	require.NoError(t, err, out)
	for _, part := range []string{"etcd", "api", "gateway", "scheduler", "replication", "node health", "ready"} {
		require.Contains(t, out, part)
	}
	for path, want := range map[string]string{"/readyz?verbose": "[+]etcd ok", "/version": `"gitVersion": "v1.37.`, "/metrics": "apiserver_request_total"} {
		require.Contains(t, c.Kubectl("get", "--raw", path), want)
	}

	c.Eventually("the cluster's DNS is a Service with the nodes' servers", func() string {
		return lacks(c.Kubectl("cluster-info")+c.Kubectl("describe", "service", "kube-dns", "--namespace=kube-system"), "CoreDNS is running at", "dns-tcp  53/TCP", ".1:53")
	})

	c.Kubectl("create", "configmap", "kept", "--from-literal=a=b")
	c.Kubectl("run", "mine", "--image=my-app")
	other.Kubectl("run", "theirs", "--image=my-app")
	other.Kubectl("wait", "--for=condition=Ready", "pod/theirs", "--timeout=60s")
	out, err = c.Karve("down")
	require.NoError(t, err, out)
	require.Empty(t, c.Containers())
	require.NotEmpty(t, other.Containers())
	require.Equal(t, "", notReady(other, "theirs"))

	c.Up()
	require.Equal(t, "b", c.Kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}"))
	c.Kubectl("wait", "--for=condition=Ready", "pod/mine", "--timeout=60s")
	out, err = c.Karve("down", "--purge")
	require.NoError(t, err, out)
	require.NoDirExists(t, c.DataDir)
	left, err := os.ReadFile(c.Kubeconfig())
	require.NoError(t, err)
	require.NotContains(t, string(left), c.Name)
	require.Contains(t, string(left), "https://elsewhere.example:6443")
}

const foreignKubeconfig = `apiVersion: v1
kind: Config
clusters:
- {name: elsewhere, cluster: {server: "https://elsewhere.example:6443"}}
contexts:
- {name: elsewhere, context: {cluster: elsewhere, user: me}}
users:
- {name: me, user: {token: secret}}
current-context: elsewhere
`

// TestForeignKubeconfigIsLeftAlone: what cannot be merged is not touched, and the cluster works all the same.
func TestForeignKubeconfigIsLeftAlone(t *testing.T) {
	c := cluster.New(t)
	require.NoError(t, os.MkdirAll(filepath.Dir(c.Kubeconfig()), 0o700))
	require.NoError(t, os.WriteFile(c.Kubeconfig(), []byte("{not: [yaml"), 0o600))
	out := c.Up()
	require.Contains(t, out, "use kubectl --kubeconfig "+filepath.Join(c.DataDir, "kubeconfig"))
	raw, err := os.ReadFile(c.Kubeconfig())
	require.NoError(t, err)
	require.Equal(t, "{not: [yaml", string(raw))
}
