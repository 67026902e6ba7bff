package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/internal/turns"
)

// start runs a manager until the test ends.
func start(t *testing.T) *Manager {
	var group turns.Group
	ctx, cancel := context.WithCancel(context.Background())
	group.Begin(ctx)
	m := New(&group)
	t.Cleanup(func() {
		cancel()
		group.Wait()
		m.Close()
	})
	return m
}

func target(c *corev1.Container, changed chan struct{}) Target {
	c.Name = "c"
	return Target{UID: "uid", Spec: c, ID: "id", Host: "127.0.0.1", Started: time.Now(), Changed: func() { changed <- struct{}{} }, Unhealthy: func(string) {}}
}

func get(path string, port int) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt(port)}}
}

func portOf(t *testing.T, addr string) int {
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return n
}

func TestReadinessComesAndGoes(t *testing.T) {
	var ok atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !ok.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	m, changed := start(t), make(chan struct{}, 10)
	m.Add(target(&corev1.Container{ReadinessProbe: &corev1.Probe{ProbeHandler: get("/", portOf(t, server.Listener.Addr().String())), PeriodSeconds: 1, FailureThreshold: 1}}, changed))
	require.False(t, m.Health("uid", "c").Ready)
	ok.Store(true)
	<-changed
	require.True(t, m.Health("uid", "c").Ready)
	ok.Store(false)
	<-changed
	require.False(t, m.Health("uid", "c").Ready)
	m.Remove("uid", "c")
	require.Zero(t, m.Health("uid", "c"))
}

func TestReadyWithoutWaitingForTheSecondPeriod(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	m, changed := start(t), make(chan struct{}, 10)
	tg := target(&corev1.Container{ReadinessProbe: &corev1.Probe{ProbeHandler: get("/", portOf(t, server.Listener.Addr().String())), PeriodSeconds: 600}}, changed)
	tg.Unhealthy = func(message string) { t.Error("not worth a word while the container comes up: ", message) }
	m.Add(tg)
	<-changed
	require.True(t, m.Health("uid", "c").Ready)
}

func TestLivenessAndStartup(t *testing.T) {
	failing := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"check"}}}
	m, changed := start(t), make(chan struct{}, 10)
	tg := target(&corev1.Container{LivenessProbe: &corev1.Probe{ProbeHandler: failing, PeriodSeconds: 1, FailureThreshold: 2}}, changed)
	var ran atomic.Int32
	tg.Exec = func(context.Context, []string) (int, string, error) { ran.Add(1); return 1, "broken", nil }
	said := make(chan string, 10)
	tg.Unhealthy = func(message string) { said <- message }
	m.Add(tg)
	<-changed
	require.Equal(t, "liveness", m.Health("uid", "c").Failed)
	require.EqualValues(t, 2, ran.Load())
	require.Equal(t, "Liveness probe failed: broken", <-said)
	<-said
	m.Remove("uid", "c")

	tg.Exec = func(context.Context, []string) (int, string, error) {
		ran.Add(1)
		return 0, "", &runtime.StartError{Message: "failed to start exec 4711: OCI runtime exec failed: no such file"}
	}
	m.Add(tg)
	require.Equal(t, "Liveness probe errored and resulted in unknown state: OCI runtime exec failed: no such file", <-said)
	<-said
	<-said
	require.Empty(t, m.Health("uid", "c").Failed, "a probe that cannot be made says nothing about the container")
	m.Remove("uid", "c")

	tg = target(&corev1.Container{
		StartupProbe:   &corev1.Probe{ProbeHandler: failing, PeriodSeconds: 1, FailureThreshold: 10},
		ReadinessProbe: &corev1.Probe{ProbeHandler: failing, PeriodSeconds: 1},
	}, changed)
	ran.Store(0)
	tg.Exec = func(context.Context, []string) (int, string, error) {
		if ran.Add(1) < 3 {
			return 1, "", nil
		}
		return 0, "", nil
	}
	m.Add(tg)
	require.False(t, m.Health("uid", "c").Started)
	<-changed
	require.True(t, m.Health("uid", "c").Started)
	<-changed
	require.True(t, m.Health("uid", "c").Ready, "other probes follow once it has started")
}
