package docker

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"karve.dev/karve/agents/node/cgroup"
	"karve.dev/karve/agents/node/runtime"
)

// endLost kills the processes of a container that never ran as far as the engine knew when it removed it. An engine that is
// killed while it starts a container does not know later that it runs, and lets it live on. Processes are found by their
// control group, which carries the container's ID; an engine on another machine has none here.
func endLost(container string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			killIf(pid, func() bool { return belongs(pid, container) })
		}
	}
}

// removeLostGroups removes the control groups of containers that the engine no longer knows: one that is killed while it
// starts or removes a container leaves them, and with them processes that wait for the word to begin. A container that runs
// shows where such groups are.
func (r *Runtime) removeLostGroups(ctx context.Context, containers []runtime.Container) {
	i := slices.IndexFunc(containers, func(c runtime.Container) bool { return c.State == runtime.Running && belongs(c.PID, c.ID) })
	if i < 0 {
		return
	}
	groups, err := cgroup.Here()
	if err != nil {
		return
	}
	group, err := groups.OfProcess(containers[i].PID)
	if err != nil {
		return // it has just ended; there is another time
	}
	group.RemoveLost(cgroup.Lost{
		Age: r.lostAfter, Waiting: isBeginning, End: func(pid int) { killIf(pid, func() bool { return isBeginning(pid) }) },
		Gone: func(id string) bool {
			_, err := r.Inspect(ctx, id)
			return errors.Is(err, runtime.ErrNotFound)
		},
	})
}

// isBeginning tells whether a process is still what it is before a container's own program runs in it.
func isBeginning(pid int) bool {
	command, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && string(command) == "runc\x00init\x00"
}

// killWait bounds the wait for a killed process to be gone.
const killWait = time.Second

// killIf kills a process of which something is true, and waits for its end. A handle makes sure that it is still the same one.
func killIf(pid int, is func() bool) {
	if !is() {
		return
	}
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(handle)
	if is() && unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0) == nil {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, int(killWait.Milliseconds())) // or it takes longer
	}
}

// belongs tells whether a process of this machine is in a container.
func belongs(pid int, container string) bool {
	groups, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	return err == nil && len(container) == idLength && strings.Contains(string(groups), container)
}

// idLength is that of the engine's IDs in full: anything shorter might be a part of some other name.
const idLength = 64
