package docker

import (
	"context"
	"time"

	"github.com/moby/moby/client"
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

// execProcess returns the process of a command that runs, and its container; 0 when it does not run.
func (r *Runtime) execProcess(ctx context.Context, exec string) (pid int, container string) {
	res, err := r.cli.ExecInspect(ctx, exec, client.ExecInspectOptions{})
	if err != nil || !res.Running {
		return 0, ""
	}
	return res.PID, res.ContainerID
}
