package node_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime/docker"
)

// patient is the machine's engine, which can be made to answer calls in ill ways. Streams that are open go on.
type patient struct {
	host    string
	engine  http.Handler
	illness atomic.Pointer[http.HandlerFunc]
}

func newPatient(t *testing.T) *patient {
	p := &patient{host: filepath.Join(t.TempDir(), "d.sock")}
	p.engine = &httputil.ReverseProxy{
		Director: func(r *http.Request) { r.URL.Scheme, r.URL.Host = "http", "engine" },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(client.DefaultDockerHost, "unix://"))
		}},
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	lis, err := net.Listen("unix", p.host)
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ill := p.illness.Load(); ill != nil {
			(*ill)(w, r)
			return
		}
		p.engine.ServeHTTP(w, r)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		_ = server.Close()
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return p
}

// TestEngineAnswersErrors has the engine answer in the ways of one that is broken. The node says so and is well again in
// seconds, what runs goes on and is called healthy all the time, and what was asked for meanwhile is done afterwards.
func TestEngineAnswersErrors(t *testing.T) {
	w, p := newWorld(t, 26), newPatient(t)
	through, err := docker.New(docker.Config{Host: "unix://" + p.host})
	require.NoError(t, err)
	t.Cleanup(func() { w.stop(); _ = through.Close() })
	w.stop()
	w.change = func(c *node.Config) { c.Runtime, c.PulseEvery = through, time.Second }
	w.start()
	stays := pod("stays", corev1.Container{LivenessProbe: &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/app", "print"}}}, PeriodSeconds: 1, TimeoutSeconds: 10, FailureThreshold: 2,
	}})
	stays.Spec.Containers[0].ReadinessProbe = stays.Spec.Containers[0].LivenessProbe.DeepCopy()
	w.create(stays)
	w.wait("stays", "running", running)
	w.create(pod("goes0", corev1.Container{}))

	for i, ill := range []struct {
		name, says string
		handler    http.HandlerFunc
	}{
		{"500", "no space left on device", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"message":"no space left on device"}`))
		}},
		{"wrong JSON", "container runtime is down", func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/_ping") {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"Id":`))
		}},
		{"empty JSON", "container runtime is down", func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/_ping") {
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write([]byte(`{}`))
		}},
		{"reset", "container runtime is down", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"slow", "has not answered for 1s", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(3 * time.Second):
				p.engine.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		}},
	} {
		old, next := "goes"+string(rune('0'+i)), "goes"+string(rune('1'+i))
		w.wait(old, "running", running)
		p.illness.Store(&ill.handler)
		w.until("the node says so: "+ill.name, func() bool {
			c := nodeReady(w.plane)
			return c.Status == corev1.ConditionFalse && c.Reason == "KubeletNotReady" && strings.Contains(c.Message, ill.says)
		})
		w.delete(old, 1)
		w.create(pod(next, corev1.Container{}))
		w.staysReady("stays", 3*time.Second, ill.name)
		p.illness.Store(nil)
		well := time.Now()
		w.until("the node is ready after "+ill.name, func() bool { return nodeReady(w.plane).Status == corev1.ConditionTrue })
		w.wait(old, "gone", gone)
		w.wait(next, "running", running)
		require.Less(t, time.Since(well), 10*time.Second, ill.name)
	}
	require.Zero(t, w.wait("stays", "running", running).Status.ContainerStatuses[0].RestartCount)
}

// staysReady watches a pod for a while: it must be called ready all the time.
func (w *world) staysReady(name string, d time.Duration, while string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	stop := context.AfterFunc(ctx, w.changed.Broadcast)
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		require.True(w.t, running(w.pods[name]), "%s: %s\n%s", while, dump(w.pods[name]), strings.Join(w.events, "\n"))
		w.changed.Wait()
	}
}
