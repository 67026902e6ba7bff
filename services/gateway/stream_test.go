package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/transport"
)

// fakePods runs "cat" like commands: exec echoes its input and reports its sizes, ports echo in upper case.
type fakePods struct {
	agentv1.UnimplementedPodAccessServiceServer
}

func (fakePods) Logs(req *agentv1.LogsRequest, stream grpc.ServerStreamingServer[agentv1.LogsResponse]) error {
	if req.GetPod().GetContainer() == "none" {
		return apierr.ToGRPC(apierrors.NewBadRequest("container none is not valid for pod web"))
	}
	for i := range req.GetTailLines() {
		if err := stream.Send(&agentv1.LogsResponse{Data: fmt.Appendf(nil, "line %d\n", i)}); err != nil {
			return err
		}
	}
	if req.GetFollow() {
		<-stream.Context().Done()
	}
	return nil
}

func (fakePods) Exec(stream grpc.BidiStreamingServer[agentv1.ExecRequest, agentv1.ExecResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start.GetPod().GetName() != "web" {
		return apierr.ToGRPC(apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, start.GetPod().GetName()))
	}
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	exit := &agentv1.ExecExit{}
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		var res agentv1.ExecResponse
		switch m := req.GetMessage().(type) {
		case *agentv1.ExecRequest_Stdin:
			res.Message = &agentv1.ExecResponse_Stdout{Stdout: m.Stdin}
		case *agentv1.ExecRequest_Resize:
			res.Message = &agentv1.ExecResponse_Stdout{Stdout: fmt.Appendf(nil, "%dx%d", m.Resize.GetWidth(), m.Resize.GetHeight())}
		case *agentv1.ExecRequest_CloseStdin:
			if _, err := fmt.Sscanf(strings.Join(start.GetCommand(), " "), "exit %d", &exit.Code); err == nil {
				_ = stream.Send(&agentv1.ExecResponse{Message: &agentv1.ExecResponse_Stderr{Stderr: []byte("failing")}})
			}
			res.Message = &agentv1.ExecResponse_Exit{Exit: exit}
		}
		if err := stream.Send(&res); err != nil || res.GetExit() != nil {
			return err
		}
	}
}

func (f fakePods) Attach(stream grpc.BidiStreamingServer[agentv1.ExecRequest, agentv1.ExecResponse]) error {
	return f.Exec(stream)
}

func (fakePods) PortForward(stream grpc.BidiStreamingServer[agentv1.PortForwardRequest, agentv1.PortForwardResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetStart().GetPort() != 8080 {
		return errors.New("connection refused")
	}
	for {
		req, err := stream.Recv()
		if err != nil || req.GetCloseWrite() {
			return err
		}
		if err := stream.Send(&agentv1.PortForwardResponse{Data: bytes.ToUpper(req.GetData())}); err != nil {
			return err
		}
	}
}

func newStreamWorld(t testing.TB) *world {
	w := &world{api: newFakeAPI(), keys: newPKI(t)}
	server := transport.NewServer(nil, nil)
	w.api.register(server)
	agentv1.RegisterPodAccessServiceServer(server, fakePods{})
	w.url = serve(t, server, w.keys)
	w.http = w.keys.httpClient(t, true, true)
	return w
}

func TestLogs(t *testing.T) {
	w := newStreamWorld(t)
	res, body := w.do(t, "GET", podPath+"/log?tailLines=2", "")
	require.Equal(t, "text/plain", res.Header.Get("Content-Type"))
	require.Equal(t, "line 0\nline 1\n", body)
	res, body = w.do(t, "GET", podPath+"/log?container=none", "")
	require.Equal(t, 400, res.StatusCode)
	require.Contains(t, body, "container none is not valid")

	ctx, cancel := context.WithCancel(context.Background())
	follow, err := w.clientset(t).CoreV1().Pods("default").GetLogs("web", &corev1.PodLogOptions{Follow: true, TailLines: new(int64(1))}).Stream(ctx)
	require.NoError(t, err)
	line := make([]byte, 7)
	_, err = io.ReadFull(follow, line)
	require.NoError(t, err)
	require.Equal(t, "line 0\n", string(line))
	cancel()
	follow.Close()
}

// executors are the two ways in which kubectl runs commands.
func (w *world) executors(t *testing.T, verb, pod string, opts *corev1.PodExecOptions) map[string]remotecommand.Executor {
	cfg := w.restConfig()
	u := w.clientset(t).CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(pod).SubResource(verb).VersionedParams(opts, scheme.ParameterCodec).URL()
	overSPDY, err := remotecommand.NewSPDYExecutor(cfg, "POST", u)
	require.NoError(t, err)
	overWebSocket, err := remotecommand.NewWebSocketExecutor(cfg, "GET", u.String())
	require.NoError(t, err)
	return map[string]remotecommand.Executor{"SPDY": overSPDY, "WebSocket": overWebSocket}
}

type sizes []remotecommand.TerminalSize

func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(*s) == 0 {
		return nil
	}
	next := (*s)[0]
	*s = (*s)[1:]
	return &next
}

func TestExec(t *testing.T) {
	w := newStreamWorld(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for name, e := range w.executors(t, "exec", "web", &corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true, Stderr: true}) {
		t.Run(name+" echoes until its input is closed", func(t *testing.T) {
			input := strings.Repeat("0123456789abcdef", 20000)
			var out, errOut bytes.Buffer
			require.NoError(t, e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(input), Stdout: &out, Stderr: &errOut}))
			require.Equal(t, input, out.String())
		})
	}
	for name, e := range w.executors(t, "exec", "web", &corev1.PodExecOptions{Command: []string{"exit", "3"}, Stdin: true, Stdout: true, Stderr: true}) {
		t.Run(name+" tells the exit code", func(t *testing.T) {
			var out, errOut bytes.Buffer
			err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut})
			var exit utilexec.CodeExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, 3, exit.Code)
			require.Equal(t, "failing", errOut.String())
		})
	}
	for name, e := range w.executors(t, "attach", "web", &corev1.PodExecOptions{Stdin: true, Stdout: true, TTY: true}) {
		t.Run(name+" resizes the terminal", func(t *testing.T) {
			input, typist := io.Pipe()
			output, out := io.Pipe()
			done := make(chan error, 1)
			go func() {
				done <- e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: input, Stdout: out, Tty: true, TerminalSizeQueue: &sizes{{Width: 80, Height: 24}}})
			}()
			got := make([]byte, 5)
			_, err := io.ReadFull(output, got)
			require.NoError(t, err)
			require.Equal(t, "80x24", string(got))
			typist.Close()
			require.NoError(t, <-done)
		})
	}
	for name, e := range w.executors(t, "exec", "nobody", &corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true}) {
		t.Run(name+" is refused before it is upgraded", func(t *testing.T) {
			err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard})
			require.ErrorContains(t, err, `pods "nobody" not found`)
		})
	}
}

func TestPortForward(t *testing.T) {
	w := newStreamWorld(t)
	cfg := w.restConfig()
	u, err := url.Parse(w.url + podPath + "/portforward")
	require.NoError(t, err)
	tripper, upgrader, err := spdy.RoundTripperFor(cfg)
	require.NoError(t, err)
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(u, cfg)
	require.NoError(t, err)
	for name, dialer := range map[string]httpstream.Dialer{
		"SPDY": spdy.NewDialer(upgrader, &http.Client{Transport: tripper}, "POST", u), "SPDY over WebSocket": tunnel,
	} {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
			require.NoError(t, err)
			done := make(chan error, 1)
			go func() { done <- f.ForwardPorts() }()
			<-ready
			ports, err := f.GetPorts()
			require.NoError(t, err)
			for range 3 {
				conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
				require.NoError(t, err)
				_, err = conn.Write([]byte("hello"))
				require.NoError(t, err)
				require.NoError(t, conn.(*net.TCPConn).CloseWrite())
				got, err := io.ReadAll(conn)
				require.NoError(t, err)
				require.Equal(t, "HELLO", string(got))
				conn.Close()
			}
			close(stop)
			require.NoError(t, <-done)
		})
	}
}

func TestKubectlRunsCommands(t *testing.T) {
	w := newStreamWorld(t)
	kubeconfig := w.kubeconfig(t)
	cmd := exec.Command("kubectl", "--kubeconfig", kubeconfig, "exec", "-i", "web", "--", "cat")
	cmd.Stdin = strings.NewReader("hello\n")
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "hello\n", string(out))
	out, err = exec.Command("kubectl", "--kubeconfig", kubeconfig, "logs", "web", "--tail=2").Output()
	require.NoError(t, err)
	require.Equal(t, "line 0\nline 1\n", string(out))
}

func TestShutdownEndsStreams(t *testing.T) {
	w := &world{api: newFakeAPI(), keys: newPKI(t)}
	server := transport.NewServer(nil, nil)
	w.api.register(server)
	agentv1.RegisterPodAccessServiceServer(server, fakePods{})
	ended := make(chan error, 3)
	t.Run("while they run", func(t *testing.T) {
		w.url = serve(t, server, w.keys)
		for name, e := range w.executors(t, "exec", "web", &corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true}) {
			input, typist := io.Pipe()
			output, out := io.Pipe()
			go func() {
				ended <- e.StreamWithContext(context.Background(), remotecommand.StreamOptions{Stdin: input, Stdout: out})
			}()
			_, err := typist.Write([]byte("x"))
			require.NoError(t, err, name)
			_, err = output.Read(make([]byte, 1))
			require.NoError(t, err, name)
		}
		u, err := url.Parse(w.url + podPath + "/portforward")
		require.NoError(t, err)
		tripper, upgrader, err := spdy.RoundTripperFor(w.restConfig())
		require.NoError(t, err)
		ready := make(chan struct{})
		f, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: tripper}, "POST", u), []string{"0:8080"}, make(chan struct{}), ready, io.Discard, io.Discard)
		require.NoError(t, err)
		go func() { ended <- f.ForwardPorts() }()
		<-ready
	})
	for range 3 {
		require.Error(t, <-ended)
	}
}
