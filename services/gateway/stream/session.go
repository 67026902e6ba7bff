package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
)

// session is one command that runs, or one container that is attached to, behind the API service.
type session struct {
	server *Server
	stream grpc.BidiStreamingClient[agentv1.ExecRequest, agentv1.ExecResponse]
	cancel context.CancelFunc
	// first is an answer that came before the client's connection was upgraded.
	first  *agentv1.ExecResponse
	sendMu sync.Mutex
	// attached sessions end without an exit code when the container does.
	attached bool
}

// open starts a session and waits until the pod's node has accepted it. What is refused by then is the error, still in
// time for an HTTP status.
func (s *Server) open(r *Request, start *agentv1.ExecStart, attach bool) (*session, error) {
	ctx, cancel := context.WithCancel(r.Context)
	call := s.api.Exec
	if attach {
		call = s.api.Attach
	}
	stream, err := call(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	o := &session{server: s, stream: stream, cancel: cancel, attached: attach}
	if err := o.start(ctx, start); err != nil {
		cancel()
		return nil, err
	}
	return o, nil
}

func (o *session) start(ctx context.Context, start *agentv1.ExecStart) error {
	// A failed send means that the stream has ended; Recv says why.
	if err := o.send(&agentv1.ExecRequest{Message: &agentv1.ExecRequest_Start{Start: start}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	md, waiting, err := o.header(ctx)
	if err != nil || waiting || md != nil {
		return err
	}
	o.first, err = o.stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// header waits for the stream's headers, but not for ever: waiting is true when they have not come.
func (o *session) header(ctx context.Context) (md metadata.MD, waiting bool, err error) {
	type answer struct {
		md  metadata.MD
		err error
	}
	done := make(chan answer, 1)
	o.server.pumps.Go(func() {
		md, err := o.stream.Header()
		done <- answer{md, err}
	})
	timeout := time.NewTimer(headerTimeout)
	defer timeout.Stop()
	select {
	case a := <-done:
		return a.md, false, a.err
	case <-timeout.C:
		return nil, true, nil
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// send is safe for concurrent use.
func (o *session) send(m *agentv1.ExecRequest) error {
	o.sendMu.Lock()
	defer o.sendMu.Unlock()
	return o.stream.Send(m)
}

// run pipes until the command has ended; the error is its exit code (utilexec.ExitError) or what went wrong. Any of the
// streams may be nil.
func (o *session) run(in io.Reader, out, errOut io.Writer, resize <-chan remotecommand.TerminalSize) error {
	defer o.cancel()
	if in != nil {
		o.server.pumps.Go(func() { o.pumpInput(in) })
	}
	if resize != nil {
		o.server.pumps.Go(func() { o.pumpSizes(resize) })
	}
	for {
		res, err := o.next()
		if err != nil {
			if errors.Is(err, io.EOF) && o.attached {
				return nil
			}
			return fmt.Errorf("the stream to the container ended: %w", err)
		}
		switch m := res.GetMessage().(type) {
		case *agentv1.ExecResponse_Stdout:
			err = write(out, m.Stdout)
		case *agentv1.ExecResponse_Stderr:
			err = write(errOut, m.Stderr)
		case *agentv1.ExecResponse_Exit:
			return o.verdict(m.Exit)
		}
		if err != nil {
			return err
		}
	}
}

func (o *session) next() (*agentv1.ExecResponse, error) {
	if first := o.first; first != nil {
		o.first = nil
		return first, nil
	}
	return o.stream.Recv()
}

func write(w io.Writer, data []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(data)
	return err
}

func (o *session) verdict(exit *agentv1.ExecExit) error {
	switch {
	case exit.GetError() != "":
		return errors.New(exit.GetError())
	case exit.GetCode() != 0 && !o.attached:
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", exit.GetCode()), Code: int(exit.GetCode())}
	}
	return nil
}

// told is what people read of how a session has ended, unless that is with a code of its own. Over SPDY the library says it.
func (o *session) told(err error) error {
	var exit utilexec.ExitError
	switch {
	case err == nil || errors.As(err, &exit):
		return err
	case o.attached:
		return fmt.Errorf("error attaching to container: %w", err)
	}
	return fmt.Errorf("error executing command in container: %w", err)
}

// pumpInput sends what the client types. The pieces are handed over, not copied, so each has a buffer of its own.
func (o *session) pumpInput(in io.Reader) {
	buf := make([]byte, chunk)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			data := append([]byte(nil), buf[:n]...)
			if o.send(&agentv1.ExecRequest{Message: &agentv1.ExecRequest_Stdin{Stdin: data}}) != nil {
				return
			}
		}
		if err != nil {
			// Whether the client closed its input or went away: there is no more of it.
			_ = o.send(&agentv1.ExecRequest{Message: &agentv1.ExecRequest_CloseStdin{CloseStdin: true}})
			return
		}
	}
}

func (o *session) pumpSizes(sizes <-chan remotecommand.TerminalSize) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			msg := &agentv1.TerminalSize{Width: uint32(size.Width), Height: uint32(size.Height)}
			if o.send(&agentv1.ExecRequest{Message: &agentv1.ExecRequest_Resize{Resize: msg}}) != nil {
				return
			}
		case <-o.stream.Context().Done():
			return
		}
	}
}
