package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	"karve.dev/karve/integration/cluster"
)

// streams opens streams to a cluster's pods as kubectl does: with client-go, every other one over SPDY.
type streams struct {
	c      *cluster.Cluster
	t      *testing.T
	config *rest.Config
	conns  http.RoundTripper
	client kubernetes.Interface
	// stop ends the forwarding of ports, which forwards waits for.
	stop     chan struct{}
	forwards errgroup.Group
}

func newStreams(c *cluster.Cluster, t *testing.T) *streams {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	require.NoError(t, err)
	config.QPS = -1
	conns, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	client, err := kubernetes.NewForConfigAndClient(config, conns)
	require.NoError(t, err)
	return &streams{c: c, t: t, config: config, conns: conns.Transport, client: client, stop: make(chan struct{})}
}

// talk runs a session that repeats its input, and checks it.
func (s *streams) talk(ctx context.Context, pod, verb string, i int, meet func(), command string) error {
	first, rest := payload()
	out, errOut := newAnswer(len(first)), &bytes.Buffer{}
	in := &question{first: first, rest: rest, pause: func() {
		select {
		case <-out.got:
		case <-ctx.Done():
		}
		meet()
	}}
	err := s.run(ctx, pod, verb, i, in, out, errOut, command)
	if !bytes.Equal(out.all.Bytes(), append(bytes.Clone(first), rest...)) {
		return fmt.Errorf("%d bytes have come back, not the %d that were sent: %v", out.all.Len(), len(first)+len(rest), err)
	}
	if errOut.String() != "end\n" {
		return fmt.Errorf("the other output is %q", errOut.String())
	}
	return err
}

func (s *streams) attach(ctx context.Context, pod string, i int, meet func()) error {
	return s.talk(ctx, pod, "attach", i, meet, "")
}

// command repeats its input and ends with a code of its own.
func (s *streams) command(ctx context.Context, pod string, i int, meet func()) error {
	return ended(s.talk(ctx, pod, "exec", i, meet, fmt.Sprintf("cat; echo end >&2; exit %d", i%5)), i%5)
}

// ended checks the code that a command has ended with.
func ended(err error, code int) error {
	var exit utilexec.CodeExitError
	switch {
	case errors.As(err, &exit) && exit.Code == code:
		return nil
	case err == nil && code != 0:
		return fmt.Errorf("ended with 0, not %d", code)
	}
	return err
}

// terminal types into a terminal, after it has given it a size.
func (s *streams) terminal(ctx context.Context, pod, verb string, i int, meet func()) error {
	out := newAnswer(1)
	in := &question{first: []byte("hel"), rest: []byte("lo\n"), pause: func() {
		select {
		case <-out.got:
		case <-ctx.Done():
		}
		meet()
	}}
	// Nobody closes a terminal's input while a person sits before it.
	input, typist := io.Pipe()
	go func() { _, _ = io.Copy(typist, in) }()
	err := s.execute(ctx, pod, verb, i, terminal, remotecommand.StreamOptions{Stdin: input, Stdout: out, Tty: true, TerminalSizeQueue: &sizes{{Width: 80, Height: 24}, {Width: 111, Height: 33}}})
	_ = input.Close()
	if got := out.all.String(); got != "hello\r\ngot hello\r\n" {
		return fmt.Errorf("the terminal shows %q: %v", got, err)
	}
	if verb == "attach" {
		return err // tells no code
	}
	return ended(err, 4)
}

// sizes are those that a terminal gets, one after the other.
type sizes []remotecommand.TerminalSize

func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(*s) == 0 {
		return nil
	}
	next := (*s)[0]
	*s = (*s)[1:]
	return &next
}

func (s *streams) run(ctx context.Context, pod, verb string, i int, in io.Reader, out, errOut io.Writer, command string) error {
	return s.execute(ctx, pod, verb, i, command, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: errOut})
}

func (s *streams) execute(ctx context.Context, pod, verb string, i int, command string, with remotecommand.StreamOptions) error {
	opts := &corev1.PodExecOptions{Stdin: with.Stdin != nil, Stdout: true, Stderr: with.Stderr != nil, TTY: with.Tty}
	if verb == "exec" {
		opts.Command = []string{"sh", "-c", command}
	}
	u := s.client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(pod).SubResource(verb).VersionedParams(opts, scheme.ParameterCodec).URL()
	e, err := remotecommand.NewWebSocketExecutor(s.config, "GET", u.String())
	if i%2 == 1 {
		e, err = remotecommand.NewSPDYExecutor(s.config, "POST", u)
	}
	if err != nil {
		return err
	}
	return e.StreamWithContext(ctx, with)
}

// logs copies a pod's log.
func (s *streams) logs(ctx context.Context, pod string, out io.Writer, follow bool) (int64, error) {
	log, err := s.client.CoreV1().Pods("default").GetLogs(pod, &corev1.PodLogOptions{Follow: follow}).Stream(ctx)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	return io.Copy(out, log)
}

// follow follows the log of a talker to its end.
func (s *streams) follow(ctx context.Context, pod string, meet func()) error {
	out := newAnswer(1)
	go func() {
		select {
		case <-out.got:
			meet()
		case <-ctx.Done():
		}
	}()
	if _, err := s.logs(ctx, pod, out, true); err != nil {
		return err
	}
	want := bytes.NewBufferString("ready\n")
	for i := range 50000 {
		fmt.Fprintln(want, i+1)
	}
	if !bytes.Equal(out.all.Bytes(), want.Bytes()) {
		return fmt.Errorf("the log has %d bytes, not the %d that were written", out.all.Len(), want.Len())
	}
	return nil
}

// forward forwards the server's two ports and returns where.
func (s *streams) forward(pod string, i int) [2]uint16 {
	u, err := url.Parse(s.config.Host + "/api/v1/namespaces/default/pods/" + pod + "/portforward")
	require.NoError(s.t, err)
	dialer, err := portforward.NewSPDYOverWebsocketDialer(u, s.config)
	if i%2 == 1 {
		var tripper http.RoundTripper
		var upgrader spdy.Upgrader
		tripper, upgrader, err = spdy.RoundTripperFor(s.config)
		dialer = httpstream.Dialer(spdy.NewDialer(upgrader, &http.Client{Transport: tripper}, "POST", u))
	}
	require.NoError(s.t, err)
	ready := make(chan struct{})
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:9000", "0:9001"}, s.stop, ready, io.Discard, io.Discard)
	require.NoError(s.t, err)
	failed := make(chan error, 1)
	s.forwards.Go(func() error {
		err := f.ForwardPorts()
		failed <- err
		return err
	})
	select {
	case <-ready:
	case err := <-failed:
		require.NoError(s.t, err)
	}
	ports, err := f.GetPorts()
	require.NoError(s.t, err)
	return [2]uint16{ports[0].Local, ports[1].Local}
}

func (s *streams) stopForwarding() {
	close(s.stop)
	require.NoError(s.t, s.forwards.Wait())
}

// connection sends to a forwarded port, says that this was all, and checks what comes back: an echo, or a digest of it all.
func (s *streams) connection(ctx context.Context, ports [2]uint16, which int, meet func()) error {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[which]))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	first, rest := payload()
	if _, err := conn.Write(first); err != nil {
		return err
	}
	var got []byte
	if which == 0 {
		got = make([]byte, len(first))
		if _, err := io.ReadFull(conn, got); err != nil {
			return err
		}
	}
	meet()
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(rest)
		sent <- errors.Join(err, conn.(*net.TCPConn).CloseWrite())
	}()
	more, err := io.ReadAll(conn)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	want := append(bytes.Clone(first), rest...)
	if which == 1 {
		want = fmt.Appendf(nil, "%x  -\n", sha256.Sum256(want))
	}
	if got = append(got, more...); !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes have come back, not the %d expected", len(got), len(want))
	}
	return nil
}
