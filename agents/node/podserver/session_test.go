package podserver

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
)

// deaf is an engine that never tells the end of a command.
type deaf struct{ runtime.Runtime }

func (deaf) Exec(ctx context.Context, _ string, _ runtime.ExecSpec, _ runtime.Streams) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// client is one that has asked for a command and waits for its end.
type client struct {
	grpc.ServerStream
	ctx   context.Context
	asked bool
	// stdout is whether it wants to hear it.
	stdout bool
	exit   *agentv1.ExecExit
}

func (c *client) Context() context.Context           { return c.ctx }
func (c *client) SendHeader(metadata.MD) error       { return nil }
func (c *client) Send(r *agentv1.ExecResponse) error { c.exit = r.GetExit(); return nil }
func (c *client) Recv() (*agentv1.ExecRequest, error) {
	if c.asked {
		return nil, io.EOF
	}
	c.asked = true
	start := &agentv1.ExecStart{Pod: &agentv1.PodRef{Namespace: "default", Name: "web"}, Command: []string{"sleep", "1h"}, Stdout: c.stdout}
	return &agentv1.ExecRequest{Message: &agentv1.ExecRequest_Start{Start: start}}, nil
}

func well() error { return nil }

// TestAnEngineThatIsIllIsNotAsked: whoever wants something of a container hears so at once.
func TestAnEngineThatIsIllIsNotAsked(t *testing.T) {
	server := New(deaf{}, nil, nil, func() error { return errors.New("container runtime is down: it has not answered for 15s") })
	err := server.Exec(&client{ctx: t.Context()})
	require.ErrorContains(t, err, "container runtime is down: it has not answered for 15s")
}

// A command that begins while its container ends is ended, whatever the engine says of it.
func TestCommandsEndWithTheirContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
		var restarted atomic.Bool
		server := New(deaf{}, func(string, string, string) (*Pod, bool) {
			list := []runtime.Container{{ID: "first", State: runtime.Running}}
			if restarted.Load() {
				list[0].State = runtime.Exited
				list = append(list, runtime.Container{ID: "second", State: runtime.Running})
			}
			return &Pod{Spec: spec, Containers: map[string][]runtime.Container{"app": list}}, true
		}, nil, well)
		c := &client{ctx: t.Context()}
		begun := time.Now()
		time.AfterFunc(time.Hour, func() { restarted.Store(true) })
		require.NoError(t, server.Exec(c))
		require.EqualValues(t, 137, c.exit.GetCode())
		require.Empty(t, c.exit.GetError())
		require.Greater(t, time.Since(begun), time.Hour)
		require.Less(t, time.Since(begun), time.Hour+10*time.Second)
	})
}

// late is an engine that has much to tell after a container has ended.
type late struct{ runtime.Runtime }

func (late) Exec(ctx context.Context, _ string, _ runtime.ExecSpec, streams runtime.Streams) (int, error) {
	for range 30 {
		time.Sleep(time.Second)
		if _, err := streams.Stdout.Write([]byte("more")); err != nil || ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return 3, nil
}

// What is left to say after the container has ended is said.
func TestASessionIsHeardOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
		state := runtime.Running
		server := New(late{}, func(string, string, string) (*Pod, bool) {
			defer func() { state = runtime.Exited }()
			return &Pod{Spec: spec, Containers: map[string][]runtime.Container{"app": {{ID: "first", State: state}}}}, true
		}, nil, well)
		c := &client{ctx: t.Context(), stdout: true}
		require.NoError(t, server.Exec(c))
		require.EqualValues(t, 3, c.exit.GetCode())
	})
}
