package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"karve.dev/karve/agents/node/runtime"
)

// Exec implements runtime.Execer.
func (r *Runtime) Exec(ctx context.Context, id string, spec runtime.ExecSpec, streams runtime.Streams) (int, error) {
	size := client.ConsoleSize{}
	if spec.TTY && streams.Resize != nil {
		select {
		case s := <-streams.Resize:
			size = client.ConsoleSize{Height: s.Height, Width: s.Width}
		default:
		}
	}
	creating, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	created, err := r.cli.ExecCreate(creating, id, client.ExecCreateOptions{
		TTY: spec.TTY, ConsoleSize: size, Cmd: spec.Command,
		AttachStdin: streams.Stdin != nil, AttachStdout: streams.Stdout != nil, AttachStderr: streams.Stderr != nil && !spec.TTY,
	})
	if err != nil {
		return 0, wrapExec("prepare to run a command in container "+id, err)
	}
	attached, err := r.cli.ExecAttach(ctx, created.ID, client.ExecAttachOptions{TTY: spec.TTY, ConsoleSize: size})
	if err != nil {
		return 0, wrapExec("run a command in container "+id, err)
	}
	resize := func(s runtime.Size) error {
		_, err := r.cli.ExecResize(ctx, created.ID, client.ExecResizeOptions{Height: s.Height, Width: s.Width})
		return err
	}
	said := &engineWords{Writer: streams.Stdout}
	if streams.Stdout != nil {
		streams.Stdout = said
	}
	if err := pump(ctx, &attached.HijackedResponse, spec.TTY, streams, resize); err != nil {
		if spec.End && ctx.Err() != nil {
			r.endExec(context.WithoutCancel(ctx), created.ID)
		}
		return 0, err
	}
	res, err := r.cli.ExecInspect(ctx, created.ID, client.ExecInspectOptions{})
	if err != nil {
		return 0, wrapExec("ask for a command's exit code", err)
	}
	if res.PID == 0 && len(said.held) > 0 {
		return 0, &runtime.StartError{Message: fmt.Sprintf("failed to exec in container: failed to start exec %q: %s", created.ID, bytes.TrimSpace(said.held))}
	}
	return res.ExitCode, said.release()
}

// engineWords holds back what may be the engine's own words: it answers for a command that it cannot start as if the command had
// written them.
type engineWords struct {
	io.Writer
	begun bool
	held  []byte
}

func (w *engineWords) Write(data []byte) (int, error) {
	if !w.begun && bytes.HasPrefix(data, []byte("OCI runtime exec failed: ")) {
		w.begun, w.held = true, bytes.Clone(data)
		return len(data), nil
	}
	w.begun = true
	if err := w.release(); err != nil {
		return 0, err
	}
	return w.Writer.Write(data)
}

// release writes what was held back.
func (w *engineWords) release() error {
	if len(w.held) == 0 {
		return nil
	}
	_, err := w.Writer.Write(w.held)
	w.held = nil
	return err
}

// Attach implements runtime.Attacher.
func (r *Runtime) Attach(ctx context.Context, id string, tty bool, streams runtime.Streams) error {
	attached, err := r.cli.ContainerAttach(ctx, id, client.ContainerAttachOptions{
		Stream: true, Stdin: streams.Stdin != nil, Stdout: streams.Stdout != nil, Stderr: streams.Stderr != nil && !tty,
	})
	if err != nil {
		return wrap("attach to container "+id, err)
	}
	return pump(ctx, &attached.HijackedResponse, tty, streams, func(s runtime.Size) error {
		_, err := r.cli.ContainerResize(ctx, id, client.ContainerResizeOptions{Height: s.Height, Width: s.Width})
		return err
	})
}

// pump copies a session's streams until the output ends. The goroutine that copies stdin ends with its reader, which
// the caller closes after the session: it cannot be interrupted while it waits for a person to type.
func pump(ctx context.Context, conn *client.HijackedResponse, tty bool, streams runtime.Streams, resize func(runtime.Size) error) error {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	if streams.Stdin != nil {
		go func() {
			_, _ = io.Copy(conn.Conn, streams.Stdin)
			_ = conn.CloseWrite()
		}()
	}
	if tty && streams.Resize != nil {
		go follow(ctx, streams.Resize, resize)
	}
	err := demultiplex(conn.Reader, tty, streams.Stdout, streams.Stderr)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// A command that has been asked for may take a moment to run, or long on a busy machine; until then it has no terminal to resize.
const (
	resizeTries = 100
	resizePause = 25 * time.Millisecond
	resizeLater = 500 * time.Millisecond
)

// follow passes on sizes until there are no more or ctx ends.
func follow(ctx context.Context, sizes <-chan runtime.Size, resize func(runtime.Size) error) {
	var size runtime.Size
	tries := 0
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case next, ok := <-sizes:
			if !ok {
				return
			}
			size, tries = next, resizeTries
		case <-again.C:
		case <-ctx.Done():
			return
		}
		if tries--; tries >= 0 && resize(size) != nil {
			again.Reset(min(resizePause*time.Duration(resizeTries-tries), resizeLater))
		}
	}
}

func demultiplex(from io.Reader, tty bool, stdout, stderr io.Writer) error {
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	var err error
	if tty {
		_, err = io.Copy(stdout, from)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, from)
	}
	if err != nil {
		return fmt.Errorf("copy output: %w", err)
	}
	return nil
}
