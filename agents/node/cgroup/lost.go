package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// RemoveLost removes the groups beside this one that were made for a container, are older than age, and of which lost says
// that their container, by its ID, is no more. The kernel lets go only of groups that nobody is in; the age is for those that
// somebody is just about to enter.
func (g Group) RemoveLost(age time.Duration, lost func(id string) bool) {
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
			if !ok || !e.IsDir() || path == dir || !isOld(path, age) || !isEmpty(path) {
				continue
			}
			if _, asked := known[id]; !asked {
				known[id] = lost(id)
			}
			if known[id] {
				_ = os.Remove(path) // or it is not empty after all
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

func isEmpty(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	return err == nil && len(text) == 0
}
