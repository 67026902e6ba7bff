package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func usageV2(dir string) (Usage, error) {
	memory, err := table(dir, "memory.stat")
	if err != nil {
		return Usage{}, fmt.Errorf("read a control group: %w", err)
	}
	u := Usage{
		Memory: number(dir, "memory.current"), MaxMemory: number(dir, "memory.peak"),
		MemoryLimit: bound(number(dir, "memory.max")), SwapLimit: bound(number(dir, "memory.swap.max")),
		RSS: memory["anon"], Cache: memory["file"], Mapped: memory["file_mapped"], Swap: number(dir, "memory.swap.current"),
		Faults: memory["pgfault"], MajorFaults: memory["pgmajfault"],
		Processes: number(dir, "pids.current"), MaxPIDs: number(dir, "pids.max"),
	}
	u.WorkingSet = max(0, u.Memory-memory["inactive_file"])
	if events, err := table(dir, "memory.events"); err == nil {
		u.Failures, u.OOMKills = events["max"], events["oom_kill"]
	}
	u.cpuV2(dir)
	io := sums(dir, "io.stat")
	u.ReadBytes, u.WriteBytes, u.ReadOps, u.WriteOps = io["rbytes"], io["wbytes"], io["rios"], io["wios"]
	return u, nil
}

func (u *Usage) cpuV2(dir string) {
	if stat, err := table(dir, "cpu.stat"); err == nil {
		micro := func(name string) time.Duration { return time.Duration(stat[name]) * time.Microsecond }
		u.CPU, u.User, u.System = micro("usage_usec"), micro("user_usec"), micro("system_usec")
		u.Periods, u.Throttled, u.ThrottledFor = stat["nr_periods"], stat["nr_throttled"], micro("throttled_usec")
	}
	u.Shares = shares(number(dir, "cpu.weight"))
	text, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if fields := strings.Fields(string(text)); err == nil && len(fields) == 2 {
		quota, _ := strconv.ParseInt(fields[0], 10, 64)
		period, _ := strconv.ParseInt(fields[1], 10, 64)
		u.Quota, u.Period = time.Duration(quota)*time.Microsecond, time.Duration(period)*time.Microsecond
	}
}

// shares is a weight of 1 to 10000 as shares of 2 to 262144, the inverse of what container runtimes do.
func shares(weight int64) int64 {
	if weight == 0 {
		return 0
	}
	return 2 + (weight-1)*262142/9999
}
