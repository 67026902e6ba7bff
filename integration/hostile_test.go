package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// badNeighbours are pods that harm whom they can.
const badNeighbours = `
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: bomb}, spec: {containers: [{name: c, image: my-app, command: [sh, -c, 'bomb() { bomb | bomb & }; bomb; sleep 1000']}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: flood}, spec: {containers: [{name: c, image: my-app, command: [busybox, "yes", "a line of a log that nobody reads, again and again and again"]}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: filler}, spec: {containers: [{name: c, image: my-app, command: [sh, -c, 'busybox dd if=/dev/zero of=/data/f bs=1M count=64; sleep 1000'], volumeMounts: [{name: v, mountPath: /data}]}], volumes: [{name: v, emptyDir: {sizeLimit: 16Mi}}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: layer}, spec: {containers: [{name: c, image: my-app, command: [sh, -c, 'busybox dd if=/dev/zero of=/f bs=1M count=64; sleep 1000'], resources: {limits: {ephemeral-storage: 16Mi}}}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: deaf}, spec: {terminationGracePeriodSeconds: 2, containers: [{name: c, image: my-app, command: [sh, -c, 'trap "" TERM INT HUP; while :; do sleep 1; done']}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: hangs}, spec: {containers: [{name: c, image: my-app, readinessProbe: {exec: {command: [sleep, "1000"]}, periodSeconds: 1, timeoutSeconds: 1}, livenessProbe: {exec: {command: [busybox, "yes"]}, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1000}}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: last-words}, spec: {restartPolicy: Never, containers: [{name: c, image: my-app, command: [sh, -c, 'busybox yes last words | busybox head -c 8000000 >/dev/termination-log; exit 3']}]}}
`

// TestHostilePods runs pods that fork, fill the disk, flood their log, do not listen, hang in their probes and talk too
// much. A neighbour answers all the while, its probe stays on time, and the daemon's memory stays as it was.
func TestHostilePods(t *testing.T) {
	c := cluster.Start(t, "--pod-pids-limit=300")
	runApp(c, "neighbour", "--overrides="+`{"spec": {"containers": [{"name": "neighbour", "image": "my-app", "imagePullPolicy": "IfNotPresent", "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 5}}]}}`)
	before := resident(t, c.PID())
	slowest := keepAsking(t, c.Kubectl("get", "pod", "neighbour", "-o", "jsonpath={.status.podIP}"))
	c.Apply(badNeighbours)

	t.Run("a fork bomb has as many processes as it may", func(t *testing.T) {
		c.Eventually("it runs", func() string { return phaseIs(c, "bomb", "Running") })
		id := container(c, "bomb", "c")
		require.Equal(t, "300", c.Docker("inspect", "--format", "{{.HostConfig.PidsLimit}}", id))
		top, _ := exec.Command("docker", "top", id, "-eo", "pid").Output()
		require.LessOrEqual(t, strings.Count(string(top), "\n"), 301)
	})
	t.Run("a log that is flooded is bounded and can be read", func(t *testing.T) {
		c.Eventually("it has turned over", func() string {
			if n := logBytes(t, c, "flood"); n < 20<<20 {
				return fmt.Sprint(n, " bytes")
			}
			return ""
		})
		require.Equal(t, 5, strings.Count(c.Kubectl("logs", "flood", "--tail=5"), "nobody reads"))
		out, err := c.Terminal("kubectl logs flood -f | head -c 1000000 | wc -c", "")
		require.NoError(t, err)
		require.Contains(t, out, "1000000")
		require.Less(t, logBytes(t, c, "flood"), int64(64<<20))
	})
	c.Kubectl("delete", "pod", "flood", "bomb", "--grace-period=1")
	t.Run("who fills the disk is evicted", func(t *testing.T) {
		for pod, why := range map[string]string{"filler": `EmptyDir volume "v" exceeds the limit "16Mi"`, "layer": "exceeds the total limit of containers 16Mi"} {
			c.Eventually(pod+" is evicted", func() string { return phaseIs(c, pod, "Failed") })
			require.Contains(t, c.Kubectl("get", "pod", pod, "-o", "jsonpath={.status.reason}: {.status.message}"), why)
		}
	})
	t.Run("probes that hang or print without end leave nothing behind", func(t *testing.T) {
		id := container(c, "hangs", "c")
		require.Contains(t, c.Kubectl("describe", "pod", "hangs"), "Readiness probe failed: command timed out")
		top, err := exec.Command("docker", "top", id, "-eo", "pid,args").Output()
		require.NoError(t, err)
		require.LessOrEqual(t, strings.Count(string(top), "sleep 1000")+strings.Count(string(top), "busybox yes"), 4, string(top))
	})
	t.Run("last words are bounded", func(t *testing.T) {
		c.Eventually("it has ended", func() string { return phaseIs(c, "last-words", "Failed") })
		require.Len(t, c.Kubectl("get", "pod", "last-words", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.message}"), 4096)
	})
	t.Run("who does not listen is killed", func(t *testing.T) {
		began := time.Now()
		c.Kubectl("delete", "pod", "deaf")
		require.Less(t, time.Since(began), 20*time.Second)
	})

	after := resident(t, c.PID())
	worst := slowest()
	t.Logf("daemon: %d MiB before, %d after; the neighbour's slowest answer: %s", before>>20, after>>20, worst)
	require.Less(t, after-before, int64(100<<20))
	require.Less(t, worst, 5*time.Second)
	require.Equal(t, "", notReady(c, "neighbour"))
	require.NotContains(t, c.Kubectl("describe", "pod", "neighbour"), "Unhealthy")
}

// keepAsking asks a pod until the function that it returns is called, which tells the longest that it took to answer.
func keepAsking(t *testing.T, ip string) func() time.Duration {
	ctx, cancel := context.WithCancel(t.Context())
	done, longest := make(chan struct{}), time.Duration(0)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			began := time.Now()
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ip+":8080/healthz", nil)
			if res, err := http.DefaultClient.Do(req); err == nil {
				_ = res.Body.Close()
			} else if ctx.Err() == nil {
				t.Error(err)
			}
			longest = max(longest, time.Since(began))
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() time.Duration { cancel(); <-done; return longest }
}

func phaseIs(c *cluster.Cluster, pod, want string) string {
	if out := c.Kubectl("get", "pod", pod, "-o", "jsonpath={.status.phase}"); out != want {
		return pod + " is " + out
	}
	return ""
}

// logBytes is how much disk a pod's log takes.
func logBytes(t *testing.T, c *cluster.Cluster, pod string) int64 {
	path := c.Docker("inspect", "--format", "{{.LogPath}}", container(c, pod, "c"))
	out, err := exec.Command("du", "-cb", "--", path, path+".1", path+".2", path+".3", path+".4").Output()
	if len(out) == 0 {
		require.NoError(t, err)
	}
	total := regexp.MustCompile(`(\d+)\ttotal`).FindSubmatch(out)
	require.NotNil(t, total, string(out))
	n, err := strconv.ParseInt(string(total[1]), 10, 64)
	require.NoError(t, err)
	return n
}

// resident is how much memory a process holds.
func resident(t *testing.T, pid string) int64 {
	raw, err := os.ReadFile("/proc/" + pid + "/status")
	require.NoError(t, err)
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(raw)
	require.NotNil(t, m)
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	require.NoError(t, err)
	return n << 10
}
