package figures

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"karve.dev/karve/agents/node/cgroup"
)

// opened counts the open files of a container's processes, and the sockets among them.
func opened(groups cgroup.Groups, pid int) (files, sockets int) {
	group, err := groups.OfProcess(pid)
	if err != nil {
		return 0, 0 // it has ended
	}
	for _, pid := range group.Processes() {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		list, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		files += len(list)
		for _, fd := range list {
			if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && strings.HasPrefix(to, "socket:") {
				sockets++
			}
		}
	}
	return files, sockets
}
