package node_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime/docker"
)

// gate is a socket that leads to the machine's engine, until it is shut: then what is sent stays on the way.
type gate struct {
	host string

	mu   sync.Mutex
	cond *sync.Cond
	shut bool
}

func newGate(t *testing.T) *gate {
	g := &gate{host: filepath.Join(t.TempDir(), "d.sock")}
	g.cond = sync.NewCond(&g.mu)
	lis, err := net.Listen("unix", g.host)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); _ = lis.Close(); g.set(false); all.Wait() })
	all.Go(func() {
		for {
			from, err := lis.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", strings.TrimPrefix(client.DefaultDockerHost, "unix://"))
			if err != nil {
				_ = from.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _ = from.Close(); _ = to.Close() })
			all.Go(func() { g.copy(to, from) })
			all.Go(func() { g.copy(from, to) })
		}
	})
	return g
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.cond.Broadcast()
}

func (g *gate) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		g.mu.Lock()
		for g.shut {
			g.cond.Wait()
		}
		g.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err == io.EOF {
			_ = to.(*net.UnixConn).CloseWrite()
		}
		if err != nil {
			return
		}
	}
}

// TestEngineHangs lets the engine take calls and not answer. The node says so; what runs goes on, and what was asked for
// meanwhile is done afterwards.
func TestEngineHangs(t *testing.T) {
	w := newWorld(t, 17)
	g := newGate(t)
	through, err := docker.New(docker.Config{Host: "unix://" + g.host})
	require.NoError(t, err)
	t.Cleanup(func() { w.stop(); _ = through.Close() })
	w.stop()
	w.change = func(c *node.Config) { c.Runtime, c.PulseEvery = through, time.Second }
	w.start()

	probe := func(h corev1.ProbeHandler) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: h, PeriodSeconds: 1, FailureThreshold: 1000, TimeoutSeconds: 1}
	}
	w.create(pod("stays", corev1.Container{ReadinessProbe: probe(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt(8080)}})}))
	w.create(pod("goes", corev1.Container{LivenessProbe: probe(corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/app", "print"}}})}))
	address := w.wait("stays", "running", running).Status.PodIP
	w.wait("goes", "running", running)

	g.set(true)
	w.until("the node says that the engine hangs", func() bool {
		c := nodeReady(w.plane)
		return c.Status == corev1.ConditionFalse && strings.Contains(c.Message, "container runtime is down: it has not answered for 1s")
	})
	w.delete("goes", 1)
	w.create(pod("new", corev1.Container{}))
	require.Contains(t, ask(t, address), "stays")

	g.set(false)
	w.until("the node is ready", func() bool { return nodeReady(w.plane).Status == corev1.ConditionTrue })
	w.wait("goes", "gone", gone)
	w.wait("new", "running", running)
	require.Zero(t, w.wait("stays", "running", running).Status.ContainerStatuses[0].RestartCount)
}
