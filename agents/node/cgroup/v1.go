package cgroup

import (
	"fmt"
	"time"
)

// tick is the unit of cpuacct.stat.
const tick = time.Second / 100

func usageV1(dirs map[string]string) (Usage, error) {
	memory, err := table(dirs["memory"], "memory.stat")
	if err != nil {
		return Usage{}, fmt.Errorf("read a control group: %w", err)
	}
	u := Usage{
		Memory: number(dirs["memory"], "memory.usage_in_bytes"), MaxMemory: number(dirs["memory"], "memory.max_usage_in_bytes"),
		Failures: number(dirs["memory"], "memory.failcnt"), MemoryLimit: bound(number(dirs["memory"], "memory.limit_in_bytes")),
		RSS: memory["total_rss"], Cache: memory["total_cache"], Mapped: memory["total_mapped_file"], Swap: memory["total_swap"],
		Faults: memory["total_pgfault"], MajorFaults: memory["total_pgmajfault"],
		Processes: number(dirs["pids"], "pids.current"), MaxPIDs: number(dirs["pids"], "pids.max"),
	}
	u.WorkingSet = max(0, u.Memory-memory["total_inactive_file"])
	if both := bound(number(dirs["memory"], "memory.memsw.limit_in_bytes")); both > u.MemoryLimit {
		u.SwapLimit = both - u.MemoryLimit
	}
	if oom, err := table(dirs["memory"], "memory.oom_control"); err == nil {
		u.OOMKills = oom["oom_kill"]
	}
	u.cpuV1(dirs)
	bytes, ops := sums(dirs["blkio"], "blkio.throttle.io_service_bytes_recursive"), sums(dirs["blkio"], "blkio.throttle.io_serviced_recursive")
	u.ReadBytes, u.WriteBytes, u.ReadOps, u.WriteOps = bytes["Read"], bytes["Write"], ops["Read"], ops["Write"]
	return u, nil
}

func (u *Usage) cpuV1(dirs map[string]string) {
	u.CPU = time.Duration(number(dirs["cpuacct"], "cpuacct.usage"))
	if split, err := table(dirs["cpuacct"], "cpuacct.stat"); err == nil {
		u.User, u.System = time.Duration(split["user"])*tick, time.Duration(split["system"])*tick
	}
	if stat, err := table(dirs["cpu"], "cpu.stat"); err == nil {
		u.Periods, u.Throttled, u.ThrottledFor = stat["nr_periods"], stat["nr_throttled"], time.Duration(stat["throttled_time"])
	}
	u.Shares = number(dirs["cpu"], "cpu.shares")
	u.Period = time.Duration(number(dirs["cpu"], "cpu.cfs_period_us")) * time.Microsecond
	u.Quota = time.Duration(max(0, number(dirs["cpu"], "cpu.cfs_quota_us"))) * time.Microsecond
}
