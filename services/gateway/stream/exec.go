package stream

import (
	"context"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
)

// Exec runs a command in a container and pipes its streams. A refusal is returned as long as the connection is HTTP.
func (s *Server) Exec(r *Request) error { return s.remoteCommand(r, false) }

// Attach joins a container's main process.
func (s *Server) Attach(r *Request) error { return s.remoteCommand(r, true) }

func (s *Server) remoteCommand(r *Request, attach bool) error {
	if err := r.upgradable(); err != nil {
		return err
	}
	opts := &remotecommand.Options{Stdin: r.is("stdin"), Stdout: r.is("stdout"), Stderr: r.is("stderr"), TTY: r.is("tty")}
	if opts.TTY {
		// A terminal has one output.
		opts.Stderr = false
	}
	if !opts.Stdin && !opts.Stdout && !opts.Stderr {
		return apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	start := &agentv1.ExecStart{Pod: r.pod(), Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr, Tty: opts.TTY}
	if !attach {
		if start.Command = r.Query["command"]; len(start.GetCommand()) == 0 {
			return apierrors.NewBadRequest("you must specify a command for the container")
		}
	}
	o, err := s.open(r, start, attach)
	if err != nil {
		return err
	}
	defer o.cancel()
	s.bind(r, lastWord)
	switch {
	case wsstream.IsWebSocketRequest(r.HTTP):
		s.serveWebSocket(r, o, opts)
	case attach:
		remotecommand.ServeAttach(r.Writer, r.HTTP, executor{o}, r.Pod, "", "", opts, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
	default:
		remotecommand.ServeExec(r.Writer, r.HTTP, executor{o}, r.Pod, "", "", nil, opts, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
	}
	return nil
}

// executor hands the streams of a SPDY connection to a session that is already open.
type executor struct{ session *session }

var (
	_ remotecommand.Executor = executor{}
	_ remotecommand.Attacher = executor{}
)

// ExecInContainer implements remotecommand.Executor.
func (e executor) ExecInContainer(_ context.Context, _, _, _ string, _ []string, in io.Reader, out, errOut io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return e.session.run(in, out, errOut, resize)
}

// AttachContainer implements remotecommand.Attacher.
func (e executor) AttachContainer(_ context.Context, _, _, _ string, in io.Reader, out, errOut io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	return e.session.run(in, out, errOut, resize)
}
