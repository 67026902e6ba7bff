package vm

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// controlGroups reads what containers may use from their control groups, as they see them.
func (n *node) controlGroups(t *testing.T) {
	const bounds = "cd /sys/fs/cgroup; cat cpu.max cpu.weight memory.max memory.swap.max pids.max memory.oom.group"
	n.ready("bounded")
	t.Run("limits", func(t *testing.T) {
		require.Equal(t, "50000 100000\n10\n67108864\n0\n300\n1", n.in("bounded", bounds))
		n.is("pod/bounded", "{.status.qosClass}", "Burstable")
	})
	t.Run("resized in place", func(t *testing.T) {
		n.Kubectl("patch", "pod", "bounded", "--subresource=resize", "-p",
			`{"spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "750m", "memory": "96Mi"}}}]}}`)
		n.is("pod/bounded", `{.status.containerStatuses[?(@.name=="app")].resources.limits}`, `{"cpu":"750m","memory":"96Mi"}`)
		require.Equal(t, "75000 100000\n20\n100663296\n0\n300\n1", n.in("bounded", bounds))
		n.is("pod/bounded", "{.status.containerStatuses[*].restartCount}", "0 0")
	})
	t.Run("out of memory", func(t *testing.T) {
		n.is("pod/greedy", "{.status.phase}", "Failed")
		n.is("pod/greedy", "{.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}", "OOMKilled 137")
	})
}

// figures compares what monitoring is told with what is known of the pod.
func (n *node) figures(t *testing.T) {
	n.ready("bounded")
	var cadvisor string
	number := func(pattern string) float64 {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(cadvisor)
		require.NotNil(t, m, pattern)
		f, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err)
		return f
	}
	cadvisor = n.Kubectl("get", "--raw", "/api/v1/nodes/vm/proxy/metrics/cadvisor")
	of := func(name, container string) float64 {
		t.Helper()
		return number(`(?m)^` + name + `\{container="` + container + `",.*pod="bounded"\} (\S+)`)
	}
	require.Equal(t, 96<<20, int(of("container_spec_memory_limit_bytes", "app")))
	require.Equal(t, 75000, int(of("container_spec_cpu_quota", "app")))
	require.Positive(t, of("container_cpu_cfs_throttled_periods_total", "busy"))
	require.Greater(t, of("container_cpu_usage_seconds_total", "busy"), 0.1)
	for name, most := range map[string]float64{"container_memory_working_set_bytes": 96 << 20, "container_processes": 50} {
		require.Positive(t, of(name, "app"), name)
		require.LessOrEqual(t, of(name, "app"), most, name)
	}
	cadvisor = n.Kubectl("get", "--raw", "/api/v1/nodes/vm/proxy/stats/summary")
	require.Greater(t, number(`"usageCoreNanoSeconds":(\d+)`), 1e9)
	require.Regexp(t, `"psi":|"workingSetBytes":[1-9]`, cadvisor)

	n.Eventually("the busy container takes what it may", func() string {
		out := n.Kubectl("top", "pod", "bounded", "--containers", "--no-headers")
		m := regexp.MustCompile(`busy +(\d+)m +\d+Mi`).FindStringSubmatch(out)
		if m == nil {
			return out
		}
		if used, _ := strconv.Atoi(m[1]); used < 50 || used > 150 {
			return out
		}
		return ""
	})
	require.Regexp(t, `(?m)^vm +[1-9]\d*m +[1-9]\d*% +[1-9]\d*Mi +[1-9]\d*%`, n.Kubectl("top", "node"))
}

// hugePages gives a pod some of those that the machine has set aside.
func (n *node) hugePages(t *testing.T) {
	n.is("node/vm", "{.status.capacity.hugepages-2Mi} {.status.allocatable.hugepages-2Mi}", "64Mi 64Mi")
	n.ready("huge")
	require.Regexp(t, `^\S+ /huge hugetlbfs .*pagesize=2M`, n.in("huge", "grep ' /huge ' /proc/mounts"))
	require.Equal(t, strconv.Itoa(8<<20), n.in("huge", "cat /sys/fs/cgroup/hugetlb.2MB.max"))
	require.Equal(t, "0", n.in("bounded", "cat /sys/fs/cgroup/hugetlb.2MB.max"))
	n.in("huge", "fallocate -l 4194304 /huge/pages")
	require.Equal(t, strconv.Itoa(4<<20), n.in("huge", "cat /sys/fs/cgroup/hugetlb.2MB.current"))
	n.Kubectl("delete", "pod", "huge")
	require.Equal(t, "HugePages_Free:       32", run(t, "grep HugePages_Free /proc/meminfo"))
	require.Equal(t, "0", run(t, "grep -c hugetlbfs /proc/mounts || true"))
}

// shortage takes nearly all the memory of the machine: the pod that has it is evicted. It comes last, since a shortage is
// told of for minutes.
func (n *node) shortage(t *testing.T) {
	_, err := os.Stat("/proc/pressure/memory")
	require.NoError(t, err)
	n.Apply(`{apiVersion: v1, kind: Pod, metadata: {name: hog}, spec: {terminationGracePeriodSeconds: 1, volumes: [{name: v, emptyDir: {medium: Memory}}], containers: [
  {name: c, image: my-app, imagePullPolicy: IfNotPresent, command: [sh, -c, "dd if=/dev/zero of=/v/f bs=1M count=` + free(t) + `; sleep 1000"], volumeMounts: [{name: v, mountPath: /v}]}]}}`)
	n.is("pod/hog", "{.status.phase} {.status.reason}", "Failed Evicted")
	require.Regexp(t, `The node was low on resource: memory. Threshold quantity: 300Mi, available: \d+Ki`, n.Kubectl("get", "pod", "hog", "-o", "jsonpath={.status.message}"))
	n.is("node/vm", `{.status.conditions[?(@.type=="MemoryPressure")].status}`, "True")
	n.is("pod/bounded", "{.status.phase}", "Running")
}

// free is how many MiB leave the machine 200.
func free(t *testing.T) string {
	kib, err := strconv.Atoi(run(t, "awk '/MemAvailable/ {print $2}' /proc/meminfo"))
	require.NoError(t, err)
	return fmt.Sprint(kib>>10 - 200)
}
