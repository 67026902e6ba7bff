package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const membershipV1 = `9:name=systemd:/docker/abc
8:pids:/docker/abc
7:blkio:/docker/abc
4:memory:/docker/abc
2:cpuacct:/docker/abc
1:cpu:/docker/abc
0::/docker/abc
`

func mountedV1(t *testing.T) Groups {
	root, err := filepath.Abs("testdata/v1")
	require.NoError(t, err)
	var lines []string
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids", "blkio"} {
		lines = append(lines, "32 31 0:29 / "+root+"/"+c+" rw,relatime - cgroup cgroup rw,"+c)
	}
	lines = append(lines, "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw")
	g, err := Mounted(strings.NewReader(strings.Join(lines, "\n")))
	require.NoError(t, err)
	return g
}

func mountedV2(t *testing.T, inner string) Groups {
	root, err := filepath.Abs("testdata/v2")
	require.NoError(t, err)
	g, err := Mounted(strings.NewReader("41 31 0:38 " + inner + " " + root + " rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"))
	require.NoError(t, err)
	return g
}

func TestUsageOfVersion1(t *testing.T) {
	groups := mountedV1(t)
	require.Equal(t, 1, groups.Version())
	group, err := groups.Of(membershipV1)
	require.NoError(t, err)
	require.Equal(t, "/docker/abc", group.Path)
	u, err := group.Usage()
	require.NoError(t, err)
	require.Equal(t, Usage{
		CPU: 27788366, User: 20 * time.Millisecond, System: 10 * time.Millisecond,
		Periods: 10, Throttled: 4, ThrottledFor: 5 * time.Millisecond, Quota: 50 * time.Millisecond, Period: 100 * time.Millisecond, Shares: 512,
		Memory: 6295552, WorkingSet: 6295552 - 4292608, RSS: 1052672, Cache: 4448256, Mapped: 3543040, MaxMemory: 6561792,
		Faults: 1485, MajorFaults: 5, Failures: 3, OOMKills: 1, Processes: 7,
		ReadBytes: 4097, ReadOps: 2, WriteBytes: 8192, WriteOps: 3,
	}, u)
}

func TestUsageOfVersion2(t *testing.T) {
	groups := mountedV2(t, "/")
	require.Equal(t, 2, groups.Version())
	group, err := groups.Of("0::/system.slice/docker-abc.scope\n")
	require.NoError(t, err)
	u, err := group.Usage()
	require.NoError(t, err)
	require.Equal(t, Usage{
		CPU: 27788 * time.Microsecond, User: 20 * time.Millisecond, System: 7788 * time.Microsecond,
		Periods: 10, Throttled: 4, ThrottledFor: 5 * time.Millisecond, Period: 100 * time.Millisecond, Shares: 500,
		Memory: 6295552, WorkingSet: 6295552 - 4292608, RSS: 1052672, Cache: 4448256, Mapped: 3543040, MaxMemory: 6561792,
		Faults: 1485, MajorFaults: 5, Failures: 3, OOMKills: 1, MemoryLimit: 64 << 20, Processes: 7,
		ReadBytes: 4097, ReadOps: 2, WriteBytes: 8192, WriteOps: 3,
	}, u)
}

func TestHierarchyMountedFromAnInnerGroup(t *testing.T) {
	group, err := mountedV2(t, "/outer").Of("0::/outer/system.slice/docker-abc.scope")
	require.NoError(t, err)
	_, err = group.Usage()
	require.NoError(t, err)
}

func TestGroupThatIsGone(t *testing.T) {
	group, err := mountedV1(t).Of(strings.ReplaceAll(membershipV1, "abc", "gone"))
	require.NoError(t, err)
	_, err = group.Usage()
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = mountedV1(t).Of("")
	require.Error(t, err)
}

// TestHere reads the group of the test itself, whatever the machine has.
func TestHere(t *testing.T) {
	groups, err := Here()
	require.NoError(t, err)
	group, err := groups.OfProcess(os.Getpid())
	require.NoError(t, err)
	require.NotEmpty(t, group.Path)
}
