package node_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime"
	karveclient "karve.dev/karve/internal/client"
)

// line is a connection to the API that can be cut.
type line struct {
	grpc.ClientConnInterface
	mu   sync.Mutex
	on   context.Context // ends when the line is cut
	stop context.CancelFunc
}

func newLine(conn grpc.ClientConnInterface) *line {
	l := &line{ClientConnInterface: conn}
	l.restore()
	return l
}

func (l *line) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on, l.stop = context.WithCancel(context.Background())
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop()
}

// within returns ctx ending also when the line is cut, or an error when it is.
func (l *line) within(ctx context.Context) (context.Context, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on.Err() != nil {
		return nil, status.Error(codes.Unavailable, "the line is cut")
	}
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(l.on, cancel)
	return ctx, nil
}

func (l *line) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, err := l.within(ctx)
	if err != nil {
		return err
	}
	return l.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

func (l *line) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	l.mu.Lock()
	on := l.on
	l.mu.Unlock()
	ctx, err := l.within(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := l.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	return &talk{stream, on}, err
}

// talk is a stream that ends when its line is cut, with what is still on its way.
type talk struct {
	grpc.ClientStream
	on context.Context
}

func (s *talk) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	return s.on.Err()
}

// TestAPIAway cuts the node off from the API. What crashes or fails its probe is restarted, and when the API is back it
// learns of that, and what it has been told meanwhile is done.
func TestAPIAway(t *testing.T) {
	w := newWorld(t, 19)
	w.stop()
	l := newLine(w.conn(nodeName))
	w.change = func(c *node.Config) { c.Conn, c.HealthConn, c.Client = l, l, karveclient.New(l, "kubelet") }
	w.start()

	w.create(pod("crashes", corev1.Container{}))
	w.create(pod("ails", corev1.Container{LivenessProbe: &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/app", "cat", "/tmp/well"}}},
		PeriodSeconds: 1, FailureThreshold: 3,
	}}))
	w.create(pod("goes", corev1.Container{}))
	for _, name := range []string{"crashes", "goes"} {
		w.wait(name, "running", running)
	}
	l.cut()
	w.delete("goes", 1)
	crashed := w.attempt("crashes", 0)
	require.NoError(t, w.rt.Signal(t.Context(), crashed.ID, "SIGKILL"))
	require.Eventually(t, func() bool { return w.attempt("crashes", 1).State == runtime.Running }, time.Minute, 50*time.Millisecond, "it is restarted")
	require.Eventually(t, func() bool { return w.attempt("ails", 1).State == runtime.Running }, time.Minute, 50*time.Millisecond, "its probe has it restarted")
	require.Equal(t, runtime.Running, w.attempt("goes", 0).State, "nobody has told the node")

	l.restore()
	w.wait("crashes", "restarted", restarted(1))
	w.wait("ails", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount >= 1 })
	w.wait("goes", "gone", gone)
}

// attempt is a pod's container as the engine has it.
func (w *world) attempt(pod string, n int) runtime.Container {
	all, err := w.rt.List(context.Background(), runtime.Owner{Cluster: w.cluster, Node: nodeName})
	require.NoError(w.t, err)
	for _, c := range all {
		if c.Pod == pod && !c.IsSandbox() && c.Attempt == n {
			return c
		}
	}
	return runtime.Container{}
}
