// Package cluster runs a real cluster for a test: the built programs, the machine's Docker Engine, a stock kubectl. Each
// cluster has its own name, data directory and ports, so that tests may run at the same time.
package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Wait is how long tests wait for a condition before they give up. Where a machine is only emulated it takes longer.
var Wait = 60 * time.Second

// Cluster is a running cluster. Its methods fail the test that started it.
type Cluster struct {
	t       testing.TB
	Name    string
	DataDir string
	Home    string
	Listen  string
	flags   []string
}

var started atomic.Int32

// Root is the project's folder.
func Root(t testing.TB) string {
	dir, err := os.Getwd()
	require.NoError(t, err)
	for dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("the project's folder was not found")
	return ""
}

// Program returns the path of a built program: in bin, or in the folder that $KARVE_BIN names.
func Program(t testing.TB, name string) string {
	dir := os.Getenv("KARVE_BIN")
	if dir == "" {
		dir = filepath.Join(Root(t), "bin")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run make build first", path)
	}
	return path
}

// FreeAddr returns a loopback address whose port, and the port 1000 above it, are free.
func FreeAddr(t testing.TB) string {
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := l.Addr().(*net.TCPAddr).Port
		require.NoError(t, l.Close())
		if port > 64000 {
			continue
		}
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1000))
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	t.Fatal("no free pair of ports")
	return ""
}

// New prepares a cluster and sees to it that nothing of it stays behind; Up starts it.
func New(t testing.TB, flags ...string) *Cluster {
	c := &Cluster{
		t: t, Name: fmt.Sprintf("it-%d-%d", os.Getpid()%100000, started.Add(1)), Home: t.TempDir(),
		DataDir: filepath.Join(t.TempDir(), "data"), Listen: FreeAddr(t), flags: flags,
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.dump()
		}
		if out, err := c.Karve("down", "--purge"); err != nil {
			t.Errorf("karve down: %v\n%s", err, out)
		}
	})
	return c
}

// Start is New and Up.
func Start(t testing.TB, flags ...string) *Cluster {
	c := New(t, flags...)
	c.Up()
	return c
}

// Up starts the cluster and waits until it says that it is ready.
func (c *Cluster) Up() string {
	c.t.Helper()
	out, err := c.Karve("up", append([]string{"--listen", c.Listen}, c.flags...)...)
	require.NoError(c.t, err, out)
	return out
}

// Karve runs the CLI on this cluster and returns what it printed.
func (c *Cluster) Karve(command string, args ...string) (string, error) {
	args = append([]string{command, "--name", c.Name, "--data-dir", c.DataDir}, args...)
	return c.run(Program(c.t, "karve"), "", args...)
}

// Kubeconfig is the file that karve up has written for the user.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.Home, ".kube", "config") }

func (c *Cluster) run(program, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*Wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "HOME="+c.Home, "KUBECONFIG="+c.Kubeconfig(), "SUDO_USER=")
	cmd.Stdin = strings.NewReader(stdin)
	// What a script leaves behind must not hold up the test.
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// Stock returns how to run kubectl: the machine's own, or where there is none the one that is built in.
func Stock(t testing.TB) []string {
	if path, err := exec.LookPath("kubectl"); err == nil {
		return []string{path}
	}
	return []string{Program(t, "karve"), "kubectl"}
}

// TryKubectl runs kubectl with input and returns what it printed, errors included.
func (c *Cluster) TryKubectl(stdin string, args ...string) (string, error) {
	stock := Stock(c.t)
	return c.run(stock[0], stdin, append(stock[1:], args...)...)
}

// Terminal runs a shell command on a terminal of its own and types input.
func (c *Cluster) Terminal(command, input string) (string, error) {
	return c.run("script", input, "--quiet", "--return", "--command", command, "/dev/null")
}

// Kubectl runs kubectl, which must succeed.
func (c *Cluster) Kubectl(args ...string) string {
	c.t.Helper()
	out, err := c.TryKubectl("", args...)
	require.NoError(c.t, err, "kubectl %s\n%s", strings.Join(args, " "), out)
	return out
}

// KubectlFails runs kubectl, which must fail, and returns what it said.
func (c *Cluster) KubectlFails(stdin string, args ...string) string {
	c.t.Helper()
	out, err := c.TryKubectl(stdin, args...)
	require.Error(c.t, err, "kubectl %s\n%s", strings.Join(args, " "), out)
	return out
}

// Apply applies a manifest.
func (c *Cluster) Apply(manifest string) string {
	c.t.Helper()
	out, err := c.TryKubectl(manifest, "apply", "-f", "-")
	require.NoError(c.t, err, out)
	return out
}

// Eventually waits until check returns "", and fails with what it returned last.
func (c *Cluster) Eventually(what string, check func() string) {
	c.t.Helper()
	last := ""
	for deadline := time.Now().Add(Wait); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if last = check(); last == "" {
			return
		}
	}
	c.t.Fatalf("%s: not after %s:\n%s", what, Wait, last)
}

// PID returns the daemon's process ID.
func (c *Cluster) PID() string {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.DataDir, "karved.lock"))
	require.NoError(c.t, err)
	return strings.TrimSpace(string(raw))
}

// Kill ends the daemon without a warning, and returns when it has let go of the cluster: that is later than it seems to
// be dead.
func (c *Cluster) Kill() {
	c.t.Helper()
	require.NoError(c.t, exec.Command("kill", "-KILL", c.PID()).Run())
	lock, err := os.Open(filepath.Join(c.DataDir, "karved.lock"))
	require.NoError(c.t, err)
	defer lock.Close()
	c.Eventually("the daemon is gone", func() string {
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
			return err.Error()
		}
		return ""
	})
}

// Docker runs the engine's client.
func (c *Cluster) Docker(args ...string) string {
	c.t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	require.NoError(c.t, err, "docker %s\n%s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// Containers returns the IDs of the cluster's containers that filters choose ("label=…", "name=…").
func (c *Cluster) Containers(filters ...string) []string {
	c.t.Helper()
	args := []string{"ps", "--no-trunc", "--quiet", "--filter", "label=karve.dev/cluster=" + c.Name}
	for _, f := range filters {
		args = append(args, "--filter", f)
	}
	return strings.Fields(c.Docker(args...))
}

// dump prints what helps to understand a failure.
func (c *Cluster) dump() {
	for _, args := range [][]string{{"get", "pods,nodes,deploy,rs,svc,endpoints", "-A", "-o", "wide"}, {"get", "events", "-A"}} {
		out, _ := c.TryKubectl("", args...)
		c.t.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
	}
	if raw, err := os.ReadFile(filepath.Join(c.DataDir, "karved.log")); err == nil {
		c.t.Logf("the daemon's log ends with\n%s", tail(string(raw), 60))
	}
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
