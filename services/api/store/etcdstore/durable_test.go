package etcdstore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"karve.dev/karve/services/api/store"
)

// TestNothingIsAcknowledgedBeforeTheDiskHasIt: writes that wait for each other each wait for a sync of the log.
func TestNothingIsAcknowledgedBeforeTheDiskHasIt(t *testing.T) {
	s := open(t, t.TempDir())
	const writes = 50
	before := logSyncs(t)
	for i := range writes {
		_, err := s.Commit(t.Context(), store.Op{Key: fmt.Sprintf("/registry/d/%d", i), Value: []byte("x")})
		require.NoError(t, err)
	}
	require.GreaterOrEqual(t, logSyncs(t)-before, writes)
}

// logSyncs counts how often the process has waited for the log to be on disk.
func logSyncs(t *testing.T) int {
	families, err := prometheus.DefaultGatherer.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "etcd_disk_wal_fsync_duration_seconds" {
			return int(family.GetMetric()[0].GetHistogram().GetSampleCount())
		}
	}
	return 0
}

const writerDir = "ETCDSTORE_TEST_WRITER_DIR"

// TestKilledWriter is the process that TestKill kills: it writes as fast as it can and prints what was acknowledged.
func TestKilledWriter(t *testing.T) {
	dir := os.Getenv(writerDir)
	if dir == "" {
		t.Skip("run by TestKill")
	}
	s := open(t, dir)
	var printing sync.Mutex
	var writing sync.WaitGroup
	for w := range 8 {
		writing.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("/registry/kill/%d-%d", w, i%100)
				revision, err := s.Commit(context.Background(), store.Op{Key: key, Value: []byte(strconv.Itoa(i)), Expected: -1})
				if err != nil {
					return
				}
				printing.Lock()
				fmt.Printf("ACK %s %d %d\n", key, revision, i)
				printing.Unlock()
			}
		})
	}
	writing.Wait()
}

// TestKill kills a process amid its writes, a few times over one data directory: every acknowledged write is there.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	type write struct {
		revision int64
		value    string
	}
	acknowledged := map[string]write{}
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$", "-test.v")
		cmd.Env = append(os.Environ(), writerDir+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		seen := 0
		for lines.Scan() {
			var key, value string
			var revision int64
			if !strings.HasPrefix(lines.Text(), "ACK ") {
				continue
			}
			if n, _ := fmt.Sscanf(lines.Text(), "ACK %s %d %s", &key, &revision, &value); n != 3 {
				continue // cut off by the kill
			}
			if acknowledged[key].revision < revision {
				acknowledged[key] = write{revision, value}
			}
			if seen++; seen == 500+100*round {
				require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
			}
		}
		_ = cmd.Wait()
		s := open(t, dir)
		for key, want := range acknowledged {
			kv, err := s.Get(t.Context(), key)
			require.NoError(t, err)
			require.GreaterOrEqual(t, kv.Revision, want.revision, "%s", key)
			if kv.Revision == want.revision {
				require.Equal(t, want.value, string(kv.Value))
			}
		}
		require.NoError(t, s.Close())
	}
	require.Greater(t, len(acknowledged), 100)
}
