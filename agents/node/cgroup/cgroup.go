// Package cgroup reads what a container has used out of the files of its control group, of version 1 or 2. Nothing is
// kept open and nothing runs: a figure costs the read of a few small files, when somebody asks for it.
package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Usage is what a group has used so far, and its bounds. What the kernel does not tell is zero.
type Usage struct {
	// CPU is user and system time together.
	CPU, User, System time.Duration
	// Periods are those in which the group had a quota, Throttled those in which it used it up.
	Periods, Throttled int64
	ThrottledFor       time.Duration
	// Quota and Period bound the CPU time; Quota 0: no bound. Shares weigh it, in the unit of version 1.
	Quota, Period time.Duration
	Shares        int64

	// Memory includes the page cache, WorkingSet leaves out what of it can be dropped at once.
	Memory, WorkingSet   int64
	RSS, Cache           int64
	Mapped, Swap         int64
	MaxMemory            int64
	Faults, MajorFaults  int64
	Failures, OOMKills   int64
	MemoryLimit          int64 // 0: no bound
	SwapLimit            int64 // 0: no bound
	Processes, MaxPIDs   int64
	ReadBytes, ReadOps   int64
	WriteBytes, WriteOps int64
}

// Groups are the hierarchies that are mounted on a machine.
type Groups struct {
	unified mount
	v1      map[string]mount // by controller
}

type mount struct{ dir, root string }

// Mounted reads which hierarchies there are from a mountinfo file of /proc.
func Mounted(mountinfo io.Reader) (Groups, error) {
	g := Groups{v1: map[string]mount{}}
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 3 {
			continue
		}
		m := mount{dir: fields[4], root: fields[3]}
		switch rest[0] {
		case "cgroup2":
			if g.unified.dir == "" {
				g.unified = m
			}
		case "cgroup":
			for option := range strings.SplitSeq(rest[2], ",") {
				if _, known := g.v1[option]; !known {
					g.v1[option] = m
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		return g, fmt.Errorf("read which control groups are mounted: %w", err)
	}
	return g, nil
}

// Here are the hierarchies of this machine.
func Here() (Groups, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return Groups{}, fmt.Errorf("read which control groups are mounted: %w", err)
	}
	defer f.Close()
	return Mounted(f)
}

// Version is 2 where memory is counted by the unified hierarchy, else 1.
func (g Groups) Version() int {
	if _, old := g.v1["memory"]; old || g.unified.dir == "" {
		return 1
	}
	return 2
}

// Group is one control group.
type Group struct {
	// Path is its name within the hierarchy: "/docker/<id>".
	Path string
	// dirs are by controller in version 1; in version 2 all are the one of "".
	dirs map[string]string
}

// Of finds the group of a process by the text of its /proc/<pid>/cgroup.
func (g Groups) Of(membership string) (Group, error) {
	out := Group{dirs: map[string]string{}}
	v2 := g.Version() == 2
	for line := range strings.SplitSeq(membership, "\n") {
		_, rest, _ := strings.Cut(line, ":")
		controllers, path, ok := strings.Cut(rest, ":")
		switch {
		case !ok:
		case controllers == "" && v2:
			out.Path, out.dirs[""] = path, g.unified.place(path)
		case controllers != "" && !v2:
			for name := range strings.SplitSeq(controllers, ",") {
				if m, mounted := g.v1[name]; mounted {
					out.dirs[name] = m.place(path)
				}
			}
			if slices.Contains(strings.Split(controllers, ","), "memory") {
				out.Path = path
			}
		}
	}
	if len(out.dirs) == 0 {
		return out, fmt.Errorf("no control group of version %d in %q", g.Version(), membership)
	}
	return out, nil
}

// OfProcess finds the group of a process.
func (g Groups) OfProcess(pid int) (Group, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return Group{}, fmt.Errorf("read a process's control group: %w", err)
	}
	return g.Of(string(text))
}

// place is where a group's files are: a hierarchy may be mounted from one of its inner groups on.
func (m mount) place(path string) string {
	if m.root != "/" {
		path = strings.TrimPrefix(path, m.root)
	}
	return filepath.Join(m.dir, path)
}

// Usage reads the group's figures. It fails when the group is gone; single figures that the kernel lacks are left zero.
func (g Group) Usage() (Usage, error) {
	if dir, v2 := g.dirs[""]; v2 {
		return usageV2(dir)
	}
	return usageV1(g.dirs)
}
