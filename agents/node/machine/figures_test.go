package machine

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatTheKernelTells(t *testing.T) {
	require.EqualValues(t, 24<<20, meminfo(strings.NewReader("MemTotal:       24576 kB\nHugePages_Total:       0\n"))["MemTotal"])
	// user nice system idle iowait irq softirq steal guest guest_nice
	require.Equal(t, 19*tick, busy(strings.Fields("10 2 3 1000 500 1 2 1 7 7")))
	text := "Inter-|   Receive | Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n" +
		"    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:     200 2 3 4 0 0 0 0 100 5 6 7 0 0 0 0\n"
	require.Equal(t, []Interface{{Name: "eth0", RxBytes: 200, RxPackets: 2, RxErrors: 3, RxDropped: 4, TxBytes: 100, TxPackets: 5, TxErrors: 6, TxDropped: 7}},
		interfaces(strings.NewReader(text)))
}

func TestThisMachine(t *testing.T) {
	f, err := Proc{NodeDir: t.TempDir(), ImageDir: "/nowhere"}.Read()
	require.NoError(t, err)
	require.Positive(t, f.Memory)
	require.Positive(t, f.MemoryFree)
	require.Positive(t, f.CPU)
	require.Positive(t, f.MaxProcesses)
	require.Equal(t, f.NodeDisk, f.ImageDisk)
	require.True(t, f.Boot.Before(f.At))
}

func TestWatchMemoryEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- WatchMemory(ctx, func() {}) }()
	cancel()
	if err := <-ended; err != nil {
		require.ErrorContains(t, err, "watch memory", "the kernel cannot tell here")
	}
}
