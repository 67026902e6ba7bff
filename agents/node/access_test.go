package node_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
)

// newTLS returns what the agent serves with, and what a caller of a name calls with.
func newTLS(t testing.TB, dir string) (server *tls.Config, as func(user string) *tls.Config) {
	ca, err := identity.LoadOrCreate(dir, identity.Options{Name: "test"})
	require.NoError(t, err)
	server = ca.ServerTLS(identity.Spec{CommonName: identity.NodePrefix + nodeName, DNSNames: []string{"localhost"}, Both: true})
	return server, func(user string) *tls.Config { return ca.ClientTLS(identity.User{Name: user}) }
}

func (w *world) access(user string) agentv1.PodAccessServiceClient {
	conn, err := transport.Dial(fmt.Sprintf("localhost:%d", w.agent.Port()), w.as(user))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	return agentv1.NewPodAccessServiceClient(conn)
}

func ref(pod string) *agentv1.PodRef { return &agentv1.PodRef{Namespace: "default", Name: pod} }

func logs(t *testing.T, api agentv1.PodAccessServiceClient, req *agentv1.LogsRequest) (string, error) {
	stream, err := api.Logs(t.Context(), req)
	require.NoError(t, err)
	var out strings.Builder
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), apierr.FromGRPC(err)
		}
		out.Write(res.GetData())
	}
}

func TestAccessToPods(t *testing.T) {
	w := newWorld(t, 7)
	w.create(pod("web", corev1.Container{}))
	w.create(pod("crash", corev1.Container{Args: []string{"print", "one two"}}))
	p := w.wait("web", "running", running)
	ask(t, p.Status.PodIP)
	api := w.access(identity.UserAPI)

	t.Run("only the API service may", func(t *testing.T) {
		_, err := logs(t, w.access("system:node:other"), &agentv1.LogsRequest{Pod: ref("web")})
		require.ErrorContains(t, err, "only system:apiserver may call a node agent")
	})
	t.Run("logs", func(t *testing.T) {
		out, err := logs(t, api, &agentv1.LogsRequest{Pod: ref("web")})
		require.NoError(t, err)
		require.Equal(t, "serving as web\n", out)
		limit := int64(7)
		out, err = logs(t, api, &agentv1.LogsRequest{Pod: ref("web"), LimitBytes: &limit})
		require.NoError(t, err)
		require.Equal(t, "serving", out)
		out, err = logs(t, api, &agentv1.LogsRequest{Pod: ref("web"), Timestamps: true})
		require.NoError(t, err)
		stamp, _, _ := strings.Cut(out, " ")
		_, err = time.Parse(time.RFC3339Nano, stamp)
		require.NoError(t, err)
		out, err = logs(t, api, &agentv1.LogsRequest{Pod: ref("web"), Stream: "Stderr"})
		require.NoError(t, err)
		require.Empty(t, out)
		w.wait("crash", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 })
		out, err = logs(t, api, &agentv1.LogsRequest{Pod: ref("crash"), Previous: true})
		require.NoError(t, err)
		require.Equal(t, "one two\n", out)
		_, err = logs(t, api, &agentv1.LogsRequest{Pod: ref("web"), Previous: true})
		require.ErrorContains(t, err, `previous terminated container "app" in pod "web" not found`)
		_, err = logs(t, api, &agentv1.LogsRequest{Pod: &agentv1.PodRef{Namespace: "default", Name: "web", Container: "x"}})
		require.ErrorContains(t, err, "container x is not valid for pod web")
	})
	t.Run("exec", func(t *testing.T) { execTests(t, api) })
	t.Run("port-forward", func(t *testing.T) {
		stream, err := api.PortForward(t.Context())
		require.NoError(t, err)
		start := &agentv1.PortForwardStart{Pod: ref("web"), Port: 8080}
		require.NoError(t, stream.Send(&agentv1.PortForwardRequest{Message: &agentv1.PortForwardRequest_Start{Start: start}}))
		var out bytes.Buffer
		for {
			res, err := stream.Recv()
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
			out.Write(res.GetData())
		}
		require.Contains(t, out.String(), "web")
	})
	t.Run("a log is followed while it is turned over", func(t *testing.T) {
		const lines = 250000
		w.create(once("talkative", "count", strconv.Itoa(lines)))
		w.wait("talkative", "started", func(p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting == nil
		})
		out, err := logs(t, api, &agentv1.LogsRequest{Pod: ref("talkative"), Follow: true})
		require.NoError(t, err)
		next := 0
		for line := range strings.Lines(out) {
			require.True(t, strings.HasPrefix(line, strconv.Itoa(next)+" "), "line %d is %q", next, line)
			next++
		}
		require.Equal(t, lines, next)
		files, err := filepath.Glob(w.logPath("talkative") + "*")
		require.NoError(t, err)
		require.Greater(t, len(files), 2, "it has been turned over")
	})
	t.Run("logs are followed to the end", func(t *testing.T) {
		followed := make(chan string, 1)
		go func() {
			out, err := logs(t, api, &agentv1.LogsRequest{Pod: ref("web"), Follow: true})
			followed <- fmt.Sprint(out, err)
		}()
		w.delete("web", 5)
		require.Equal(t, "serving as web\nbye\n<nil>", <-followed)
	})
}

// logPath is where the engine writes the log of a pod's container.
func (w *world) logPath(pod string) string {
	res, err := w.cli.ContainerInspect(w.t.Context(), idOf(w.wait(pod, "there", func(p *corev1.Pod) bool { return p != nil })), client.ContainerInspectOptions{})
	require.NoError(w.t, err)
	return res.Container.LogPath
}

// run runs a session and returns its output and exit.
func run(t *testing.T, api agentv1.PodAccessServiceClient, start *agentv1.ExecStart, input ...*agentv1.ExecRequest) (string, *agentv1.ExecExit, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := api.Exec(ctx)
	require.NoError(t, err)
	start.Stdout, start.Stderr = true, true
	for _, req := range append([]*agentv1.ExecRequest{{Message: &agentv1.ExecRequest_Start{Start: start}}}, input...) {
		require.NoError(t, stream.Send(req))
	}
	var out strings.Builder
	for {
		res, err := stream.Recv()
		if err != nil {
			return out.String(), nil, err
		}
		out.Write(res.GetStdout())
		out.Write(res.GetStderr())
		if res.GetExit() != nil {
			return out.String(), res.GetExit(), nil
		}
	}
}

func execTests(t *testing.T, api agentv1.PodAccessServiceClient) {
	out, exit, err := run(t, api, &agentv1.ExecStart{Pod: ref("web"), Command: []string{"/app", "print", "hello"}})
	require.NoError(t, err)
	require.Equal(t, "hello\n", out)
	require.Zero(t, exit.GetCode())

	_, exit, err = run(t, api, &agentv1.ExecStart{Pod: ref("web"), Command: []string{"/app", "exit", "42"}})
	require.NoError(t, err)
	require.EqualValues(t, 42, exit.GetCode())

	out, _, err = run(t, api, &agentv1.ExecStart{Pod: ref("web"), Command: []string{"/app", "echo"}, Stdin: true},
		&agentv1.ExecRequest{Message: &agentv1.ExecRequest_Stdin{Stdin: []byte("through and back")}},
		&agentv1.ExecRequest{Message: &agentv1.ExecRequest_CloseStdin{CloseStdin: true}})
	require.NoError(t, err)
	require.Equal(t, "through and back", out, "output follows after the input's end")

	out, _, err = run(t, api, &agentv1.ExecStart{Pod: ref("web"), Command: []string{"/app", "size"}, Tty: true, Stdin: true},
		&agentv1.ExecRequest{Message: &agentv1.ExecRequest_Resize{Resize: &agentv1.TerminalSize{Width: 111, Height: 33}}})
	require.NoError(t, err)
	require.Contains(t, out, "111x33")

	_, _, err = run(t, api, &agentv1.ExecStart{Pod: ref("nobody"), Command: []string{"/app"}})
	require.Equal(t, codes.NotFound, status.Code(err))

	_, exit, err = run(t, api, &agentv1.ExecStart{Pod: ref("web"), Command: []string{"/none"}})
	require.NoError(t, err)
	require.Regexp(t, `^failed to exec in container: failed to start exec "\w+": OCI runtime exec failed: .*"/none"`, exit.GetError())
}
