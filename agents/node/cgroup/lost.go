package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Lost says which groups RemoveLost is to remove.
type Lost struct {
	// Age is how old they are at least: somebody may be just about to enter a younger one.
	Age time.Duration
	// Gone says of a container, by its ID, that it is no more.
	Gone func(id string) bool
	// Waiting says of a process that it only waits to become a container's; End ends such a process.
	Waiting func(pid int) bool
	End     func(pid int)
}

// RemoveLost removes groups beside this one that were made for a container which is gone. The kernel lets go only of groups
// that nobody is in.
func (g Group) RemoveLost(l Lost) {
	known := map[string]bool{}
	for _, dir := range g.dirs {
		parent := filepath.Dir(dir)
		entries, err := os.ReadDir(parent)
		if err != nil {
			continue // nothing is known, so nothing is removed
		}
		for _, e := range entries {
			id, ok := containerOf(e.Name())
			path := filepath.Join(parent, e.Name())
			if !ok || !e.IsDir() || path == dir || !isOld(path, l.Age) {
				continue
			}
			inside := processes(path)
			if slices.ContainsFunc(inside, func(pid int) bool { return !l.Waiting(pid) }) {
				continue
			}
			if _, asked := known[id]; !asked {
				known[id] = l.Gone(id)
			}
			if known[id] {
				for _, pid := range inside {
					l.End(pid)
				}
				_ = os.Remove(path) // or somebody is in it after all
			}
		}
	}
}

// containerOf is the container that a group is named after, by either of the engine's ways of keeping them.
func containerOf(name string) (id string, ok bool) {
	id = strings.TrimSuffix(strings.TrimPrefix(name, "docker-"), ".scope")
	return id, len(id) == 64 && strings.Trim(id, "0123456789abcdef") == ""
}

func isOld(dir string, age time.Duration) bool {
	info, err := os.Stat(dir)
	return err == nil && time.Since(info.ModTime()) > age
}
