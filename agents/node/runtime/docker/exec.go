package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"karve.dev/karve/agents/node/runtime"
)

// endWait bounds the end of a command that nobody waits for any more.
const endWait = 5 * time.Second

// endExec kills a command that runs in a container; the engine has no call for that. A probe that hangs, or prints without
// end, would otherwise leave one more process behind each time. Only a process of a container on this machine is killed,
// held by a handle while the engine says that it is still the command's.
func (r *Runtime) endExec(ctx context.Context, exec string) {
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	pid, container := r.execProcess(ctx, exec)
	if pid <= 0 {
		return
	}
	killIf(pid, func() bool {
		again, _ := r.execProcess(ctx, exec)
		return again == pid && belongs(pid, container)
	})
}

// wrapExec is wrap for commands. An engine that fails at one, or does not answer in time, says nothing about the command:
// what is wrong with that, the command's output and exit code tell.
func wrapExec(doing string, err error) error {
	if cerrdefs.IsInternal(err) || cerrdefs.IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w: %w", doing, runtime.ErrUnavailable, err)
	}
	return wrap(doing, err)
}

// execProcess returns the process of a command that runs, and its container; 0 when it does not run.
func (r *Runtime) execProcess(ctx context.Context, exec string) (pid int, container string) {
	res, err := r.cli.ExecInspect(ctx, exec, client.ExecInspectOptions{})
	if err != nil || !res.Running {
		return 0, ""
	}
	return res.PID, res.ContainerID
}
