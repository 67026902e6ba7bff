package docker

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
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
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(handle)
	if again, _ := r.execProcess(ctx, exec); again != pid || !belongs(pid, container) {
		return
	}
	_ = unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0) // or it has just ended
}

// execProcess returns the process of a command that runs, and its container; 0 when it does not run.
func (r *Runtime) execProcess(ctx context.Context, exec string) (pid int, container string) {
	res, err := r.cli.ExecInspect(ctx, exec, client.ExecInspectOptions{})
	if err != nil || !res.Running {
		return 0, ""
	}
	return res.PID, res.ContainerID
}

// belongs tells whether a process of this machine is in a container: the engine may be on another machine.
func belongs(pid int, container string) bool {
	groups, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	return err == nil && container != "" && strings.Contains(string(groups), container)
}
