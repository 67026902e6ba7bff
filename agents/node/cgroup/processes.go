package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Processes are the group's processes; none when it is gone.
func (g Group) Processes() []int {
	dir, v2 := g.dirs[""]
	if !v2 {
		dir = g.dirs["memory"]
	}
	return processes(dir)
}

func processes(dir string) []int {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var out []int
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			out = append(out, pid)
		}
	}
	return out
}
