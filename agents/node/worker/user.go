package worker

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// processUser reads what a process runs as; nil when it cannot be told, as of one that has ended.
func processUser(pid int) *corev1.LinuxContainerUser {
	if pid <= 0 {
		return nil
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	defer file.Close()
	out, found := &corev1.LinuxContainerUser{}, 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		ids := numbers(rest)
		switch {
		case name == "Uid" && len(ids) > 0:
			out.UID, found = ids[0], found+1
		case name == "Gid" && len(ids) > 0:
			out.GID, found = ids[0], found+1
		case name == "Groups":
			out.SupplementalGroups = ids
		}
	}
	if found != 2 {
		return nil
	}
	return out
}

func numbers(text string) []int64 {
	var out []int64
	for _, field := range strings.Fields(text) {
		if n, err := strconv.ParseInt(field, 10, 64); err == nil {
			out = append(out, n)
		}
	}
	return out
}
