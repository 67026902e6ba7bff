package docker

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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

// killIf kills a process of which something is true. A handle makes sure that it is still the same one.
func killIf(pid int, is func() bool) {
	if !is() {
		return
	}
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(handle)
	if is() {
		_ = unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0) // or it has just ended
	}
}

// belongs tells whether a process of this machine is in a container.
func belongs(pid int, container string) bool {
	groups, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	return err == nil && len(container) == idLength && strings.Contains(string(groups), container)
}

// idLength is that of the engine's IDs in full: anything shorter might be a part of some other name.
const idLength = 64
