package node_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// engine is a Docker Engine of the test's own, which it may kill.
type engine struct {
	t    testing.TB
	dir  string
	host string
	cmd  *exec.Cmd
	// flags are what it gets beside its own.
	flags []string
}

func newEngine(t testing.TB, flags ...string) *engine {
	if _, err := exec.LookPath("dockerd"); err != nil || os.Getuid() != 0 || testing.Short() {
		t.Skip("needs root and dockerd")
	}
	dir, err := os.MkdirTemp("", "engine") // short: socket paths have a bound
	require.NoError(t, err)
	e := &engine{t: t, dir: dir, host: "unix://" + filepath.Join(dir, "d.sock"), flags: flags}
	t.Cleanup(func() {
		e.kill(os.Interrupt)
		for _, pid := range append(e.processes(), e.helpers()...) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for syscall.Unmount(filepath.Join(dir, "data"), syscall.MNT_DETACH) == nil {
			continue // a killed engine leaves its folder mounted
		}
		require.NoError(t, os.RemoveAll(dir))
		_ = exec.Command("find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*"+e.group()+"*", "-exec", "rmdir", "{}", "+").Run() // those of containers too
	})
	e.start()
	return e
}

func (e *engine) start() {
	e.cmd = exec.Command("dockerd", append(e.flags, "--data-root", filepath.Join(e.dir, "data"), "--exec-root", filepath.Join(e.dir, "exec"),
		"--pidfile", filepath.Join(e.dir, "pid"), "-H", e.host, "--iptables=false", "--bridge=none",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", e.group())...)
	// In a network of its own: an engine without a bridge removes docker0, which is the machine's engine's.
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	require.NoError(e.t, e.cmd.Start())
	cli, err := client.New(client.WithHost(e.host))
	require.NoError(e.t, err)
	defer cli.Close()
	require.Eventually(e.t, func() bool {
		_, err := cli.Ping(e.t.Context(), client.PingOptions{})
		return err == nil
	}, time.Minute, 20*time.Millisecond, "the engine does not come up")
}

// group is the control group of all containers of the engine.
func (e *engine) group() string { return "/karve-" + filepath.Base(e.dir) }

// processes are those of its containers, also of such as it has lost.
func (e *engine) processes() []int { return e.named("cgroup", e.group()+"/") }

// helpers are the engine's own, one for each container: a killed engine leaves some of them behind.
func (e *engine) helpers() []int { return e.named("cmdline", e.dir+"/exec/containerd/") }

// named are the processes of which a file in /proc holds a text.
func (e *engine) named(file, text string) (pids []int) {
	entries, err := os.ReadDir("/proc")
	require.NoError(e.t, err)
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join("/proc", entry.Name(), file))
		if pid, notOne := strconv.Atoi(entry.Name()); err == nil && notOne == nil && strings.Contains(string(content), text) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (e *engine) kill(sig os.Signal) {
	if sig == os.Kill {
		e.killContainerd() // at the same moment, not by the engine's end
	}
	_ = e.cmd.Process.Signal(sig)
	_ = e.cmd.Wait()
	// A killed engine leaves these behind, and may take the zombie of its helper for a living one.
	_ = os.Remove(filepath.Join(e.dir, "pid"))
	_ = os.Remove(filepath.Join(e.dir, "exec", "containerd", "containerd.pid"))
}

// killContainerd kills the engine's own containerd. An engine that lives starts it again.
func (e *engine) killContainerd() {
	for _, pid := range e.named("cmdline", "containerd\x00--config\x00"+e.dir+"/") {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestEngineRestarts(t *testing.T) {
	e := newEngine(t)
	w := newWorldOn(t, 10, e.host)
	w.create(pod("web", corev1.Container{}))
	p := w.wait("web", "running", running)
	address := p.Status.PodIP

	// The engine takes its containers along.
	e.kill(os.Interrupt)
	w.until("the node is not ready", func() bool {
		c := nodeReady(w.plane)
		return c != nil && c.Status == corev1.ConditionFalse
	})
	e.start()
	w.until("the node is ready", func() bool { return nodeReady(w.plane).Status == corev1.ConditionTrue })
	p = w.wait("web", "back", restarted(1))
	require.Equal(t, address, p.Status.PodIP)
	require.Contains(t, ask(t, p.Status.PodIP), "web")

	// The engine is killed; its containers live on, and die when it comes back.
	e.kill(os.Kill)
	e.start()
	w.wait("web", "back", func(p *corev1.Pod) bool { return running(p) && p.Status.ContainerStatuses[0].RestartCount >= 2 })
	require.Contains(t, ask(t, address), "web")
}
