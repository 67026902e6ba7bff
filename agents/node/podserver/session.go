package podserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/agents/node/runtime"
	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/apierr"
)

type execStream = grpc.BidiStreamingServer[agentv1.ExecRequest, agentv1.ExecResponse]

// Exec implements PodAccessService.
func (s *Server) Exec(stream execStream) error {
	return apierr.ToGRPC(s.session(stream, func(ctx context.Context, c *runtime.Container, start *agentv1.ExecStart, streams runtime.Streams) (int, error) {
		execer, ok := s.rt.(runtime.Execer)
		if !ok {
			return 0, apierrors.NewMethodNotSupported(schema.GroupResource{Resource: "pods"}, "exec")
		}
		// Nobody comes back to a terminal that has been left; a command without one may have its work to do.
		return execer.Exec(ctx, c.ID, runtime.ExecSpec{Command: start.GetCommand(), TTY: start.GetTty(), End: start.GetTty()}, streams)
	}))
}

// Attach implements PodAccessService.
func (s *Server) Attach(stream execStream) error {
	return apierr.ToGRPC(s.session(stream, func(ctx context.Context, c *runtime.Container, _ *agentv1.ExecStart, streams runtime.Streams) (int, error) {
		attacher, ok := s.rt.(runtime.Attacher)
		if !ok {
			return 0, apierrors.NewMethodNotSupported(schema.GroupResource{Resource: "pods"}, "attach")
		}
		if err := attacher.Attach(ctx, c.ID, c.TTY, streams); err != nil {
			return 0, err
		}
		end, err := s.rt.Inspect(ctx, c.ID)
		if err != nil || end.State == runtime.Running {
			return 0, nil // detached, or nothing left to ask
		}
		return int(end.ExitCode), nil
	}))
}

// session reads the start, runs a session with the stream as its ends, and sends its exit.
func (s *Server) session(stream execStream, run func(context.Context, *runtime.Container, *agentv1.ExecStart, runtime.Streams) (int, error)) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return apierrors.NewBadRequest("the first message of a session must start it")
	}
	c, err := s.running(start.GetPod())
	if err != nil {
		return err
	}
	// Headers say that the session is accepted, even when the command stays silent.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	in := newInput(start)
	go in.receive(ctx, stream, func() { cancel(nil) })
	var watch sync.WaitGroup
	watch.Go(func() { s.vigil(ctx, start.GetPod(), c.ID, in, cancel) })
	code, err := run(ctx, &c, start, in.streams(stream, start))
	in.close()
	exit := &agentv1.ExecExit{Code: int32(code)}
	switch {
	case err == nil:
	case errors.Is(context.Cause(ctx), errContainerEnded):
		exit.Code = killedCode
	case ctx.Err() == nil:
		exit.Error = err.Error()
	}
	cancel(nil)
	watch.Wait()
	// The receiving goroutine ends when the stream does, which is when this handler returns.
	return stream.Send(&agentv1.ExecResponse{Message: &agentv1.ExecResponse_Exit{Exit: exit}})
}

// input is what a session receives.
type input struct {
	stdin  *io.PipeReader
	write  *io.PipeWriter
	resize chan runtime.Size
	// said counts the messages that are sent: each when it begins, and when it is done.
	said atomic.Int64
}

func newInput(start *agentv1.ExecStart) *input {
	in := &input{resize: make(chan runtime.Size, 4)}
	if start.GetStdin() {
		in.stdin, in.write = io.Pipe()
	}
	return in
}

func (in *input) close() {
	if in.stdin != nil {
		_ = in.stdin.Close()
	}
}

// receive passes on what arrives until the session or the stream ends; a client that goes away ends the session.
func (in *input) receive(ctx context.Context, stream execStream, cancel context.CancelFunc) {
	for {
		req, err := stream.Recv()
		if err != nil {
			if in.write != nil {
				_ = in.write.Close()
			}
			if !errors.Is(err, io.EOF) {
				cancel()
			}
			return
		}
		switch m := req.GetMessage().(type) {
		case *agentv1.ExecRequest_Stdin:
			if in.write != nil {
				if _, err := in.write.Write(m.Stdin); err != nil {
					in.write = nil // the process has closed its input; the rest is dropped
				}
			}
		case *agentv1.ExecRequest_CloseStdin:
			if in.write != nil {
				_ = in.write.Close()
			}
		case *agentv1.ExecRequest_Resize:
			select {
			case in.resize <- runtime.Size{Width: uint(m.Resize.GetWidth()), Height: uint(m.Resize.GetHeight())}:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (in *input) streams(stream execStream, start *agentv1.ExecStart) runtime.Streams {
	var sending sync.Mutex
	out := runtime.Streams{Resize: in.resize}
	if in.stdin != nil {
		out.Stdin = in.stdin
	}
	if start.GetStdout() {
		out.Stdout = writer(func(data []byte) error {
			sending.Lock()
			defer sending.Unlock()
			in.said.Add(1)
			defer in.said.Add(1)
			return stream.Send(&agentv1.ExecResponse{Message: &agentv1.ExecResponse_Stdout{Stdout: data}})
		})
	}
	if start.GetStderr() && !start.GetTty() {
		out.Stderr = writer(func(data []byte) error {
			sending.Lock()
			defer sending.Unlock()
			in.said.Add(1)
			defer in.said.Add(1)
			return stream.Send(&agentv1.ExecResponse{Message: &agentv1.ExecResponse_Stderr{Stderr: data}})
		})
	}
	return out
}

// piece is the most that one message carries. With what gRPC adds it fits a buffer of 32 KiB; the next larger takes 1 MiB.
const piece = 32<<10 - 64

// writer sends copies: who writes may use its buffer again while the message is under way.
type writer func(data []byte) error

func (w writer) Write(data []byte) (n int, err error) {
	for part := range slices.Chunk(data, piece) {
		if err := w(bytes.Clone(part)); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// PortForward implements PodAccessService.
func (s *Server) PortForward(stream grpc.BidiStreamingServer[agentv1.PortForwardRequest, agentv1.PortForwardResponse]) error {
	return apierr.ToGRPC(s.forward(stream))
}

func (s *Server) forward(stream grpc.BidiStreamingServer[agentv1.PortForwardRequest, agentv1.PortForwardResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return apierrors.NewBadRequest("the first message of a port-forward must start it")
	}
	pod, ok := s.pods(start.GetPod().GetNamespace(), start.GetPod().GetName(), start.GetPod().GetUid())
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, start.GetPod().GetName())
	}
	if pod.Sandbox == nil || pod.Sandbox.State != runtime.Running {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s is not running", start.GetPod().GetName()))
	}
	conn, err := s.connect(stream.Context(), pod, start)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(stream.Context(), func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	// Headers say that the connection is made, even when the pod waits for the client to begin.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	go forwardIn(stream, conn)
	buffer := make([]byte, piece)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if err := stream.Send(&agentv1.PortForwardResponse{Data: bytes.Clone(buffer[:n])}); err != nil {
				return err
			}
		}
		if err != nil {
			return nil // closed by the pod, or with the stream
		}
	}
}

// connect connects to the pod's port: at its address, or where only its own processes reach it.
func (s *Server) connect(ctx context.Context, pod *Pod, start *agentv1.PortForwardStart) (net.Conn, error) {
	if start.GetPort() < 1 || start.GetPort() > math.MaxUint16 {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%d is no port", start.GetPort()))
	}
	port := uint16(start.GetPort())
	if !start.GetFromOutside() {
		return s.connectInside(ctx, pod, port)
	}
	ip, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s has no address yet", pod.Spec.Name))
	}
	conn, err := s.dial(ctx, pod.Sandbox, netip.AddrPortFrom(ip, port))
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("connect to port %d of pod %s: %w", port, pod.Spec.Name, err))
	}
	return conn, nil
}

// connectInside connects to the pod's localhost, which has two addresses. What is said of both is containerd's text.
func (s *Server) connectInside(ctx context.Context, pod *Pod, port uint16) (net.Conn, error) {
	conn, err := s.dial(ctx, pod.Sandbox, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	if err == nil {
		return conn, nil
	}
	conn, err6 := s.dial(ctx, pod.Sandbox, netip.AddrPortFrom(netip.IPv6Loopback(), port))
	if err6 == nil {
		return conn, nil
	}
	return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
		Message: fmt.Sprintf("failed to connect to localhost:%d inside namespace %q, IPv4: %v IPv6 %v", port, pod.Sandbox.ID, err, err6),
	}}
}

// forwardIn copies what the client sends; it ends when the stream does.
func forwardIn(stream grpc.BidiStreamingServer[agentv1.PortForwardRequest, agentv1.PortForwardResponse], conn net.Conn) {
	half, _ := conn.(interface{ CloseWrite() error })
	for {
		req, err := stream.Recv()
		if err != nil || req.GetCloseWrite() {
			if half != nil {
				_ = half.CloseWrite()
			}
			if err != nil {
				return
			}
			continue
		}
		if _, err := conn.Write(req.GetData()); err != nil {
			return
		}
	}
}
