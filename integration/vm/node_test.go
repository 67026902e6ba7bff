// Package vm holds the tests that need a kernel with more than the machine at hand may have: control groups of version
// 2 only, huge pages, an NFS client, AppArmor, IPVS. A whole node runs in one virtual machine: the engine and the
// programs of this machine, the cluster as it is built, and these tests.
package vm

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
	"karve.dev/karve/internal/vmtest"
)

var (
	modules = []string{
		"overlay", "bridge", "br_netfilter", "veth", "dummy",
		"nf_tables", "nft_chain_nat", "nft_nat", "nft_masq", "nft_ct", "nft_numgen", "nft_fib_inet", "nft_reject_inet", "nft_compat", "nf_conntrack_netlink",
		"xt_conntrack", "xt_addrtype", "xt_MASQUERADE", "xt_nat", "xt_tcpudp", "xt_comment", "xt_mark", "ip_vs", "ip_vs_rr", "nfsv3", "nfsv4",
	}
	programs = []string{"dockerd", "containerd", "containerd-shim-runc-v2", "runc", "iptables", "iptables-restore", "ip6tables", "mount", "apparmor_parser"}
)

// setup makes a node out of the machine. What runs has a control group beside the containers' ones, as with systemd.
const setup = `
mount --make-rshared /
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir /sys/fs/cgroup/system
for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo $pid >/sys/fs/cgroup/system/cgroup.procs; done 2>/dev/null
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c >/sys/fs/cgroup/cgroup.subtree_control; done
mount -t securityfs security /sys/kernel/security
mkdir -p /dev/pts /dev/shm /etc/apparmor /var/lib/docker
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o size=1g docker /var/lib/docker
touch /etc/apparmor/parser.conf
echo 127.0.0.1 localhost >/etc/hosts
echo root:x:0:0:root:/:/bin/sh >/etc/passwd
hostname vm
echo 32 >/proc/sys/vm/nr_hugepages
ip link add karve-out type dummy
ip addr add 10.77.0.2/24 dev karve-out
ip link set karve-out up
ip route add default via 10.77.0.1
dockerd >/tmp/dockerd.log 2>&1 &
`

// TestNode is the whole of it, in one machine: to start that takes longer than most of what is tried there.
func TestNode(t *testing.T) {
	if os.Getenv(vmtest.Inside) == "" {
		vmtest.Test(t, vmtest.Config{
			Run: "^TestNode$", Modules: modules, Programs: programs, Setup: setup, Kernel: "apparmor=1 security=apparmor",
			Files: map[string]string{
				"/bin/karve": cluster.Program(t, "karve"), "/bin/karved": cluster.Program(t, "karved"), "/image.tar": image(t),
				"/usr/lib/x86_64-linux-gnu/xtables": "/usr/lib/x86_64-linux-gnu/xtables",
			},
			Env:        []string{"KARVE_BIN=/bin"},
			Processors: 2, MemoryMiB: 3072, Timeout: 15 * time.Minute,
		})
		return
	}
	n := start(t)
	t.Run("control groups", n.controlGroups)
	t.Run("NFS", n.nfs)
	t.Run("figures", n.figures)
	t.Run("huge pages", n.hugePages)
	t.Run("AppArmor", n.appArmor)
	t.Run("mount propagation", n.propagation)
	t.Run("IPVS", n.ipvs)
	t.Run("shortage of memory", n.shortage)
}

// node is the cluster of one node, with methods that are tests.
type node struct{ *cluster.Cluster }

func start(t *testing.T) *node {
	cluster.Wait = 4 * time.Minute
	load(t)
	loadProfile(t)
	n := &node{cluster.Start(t, "--dataplane=ipvs", "--pod-pids-limit=300", "--eviction-hard=memory.available<300Mi")}
	t.Cleanup(func() {
		if t.Failed() {
			for _, command := range []string{"tail -n 30 /tmp/dockerd.log", "free -m", "dmesg | tail -n 20"} {
				out, _ := exec.Command("sh", "-c", command).CombinedOutput()
				t.Logf("%s\n%s", command, out)
			}
		}
	})
	n.Apply(strings.ReplaceAll(pods, "image: my-app", "image: my-app, imagePullPolicy: IfNotPresent"))
	return n
}

// pods are those that more than one test looks at, or that can start while others are looked at.
const pods = `
{apiVersion: v1, kind: Pod, metadata: {name: bounded, labels: {app: web}, annotations: {kubectl.kubernetes.io/default-container: app}}, spec: {terminationGracePeriodSeconds: 1, containers: [
  {name: app, image: my-app, resources: {requests: {cpu: 250m, memory: 32Mi}, limits: {cpu: 500m, memory: 64Mi}}},
  {name: busy, image: my-app, command: [sh, -c, "while :; do :; done"], resources: {limits: {cpu: 100m, memory: 16Mi}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: greedy}, spec: {restartPolicy: Never, containers: [
  {name: c, image: my-app, command: [sh, -c, "head -c 100m /dev/zero | tail -c 90m; sleep 1000"], resources: {limits: {memory: 24Mi}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: huge}, spec: {terminationGracePeriodSeconds: 1, volumes: [{name: v, emptyDir: {medium: HugePages}}], containers: [
  {name: c, image: my-app, resources: {limits: {cpu: 100m, memory: 32Mi, hugepages-2Mi: 8Mi}}, volumeMounts: [{name: v, mountPath: /huge}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}
`

// in runs a command in a pod and returns what it prints.
func (n *node) in(pod, command string) string {
	out, err := n.TryKubectl("", "exec", pod, "--", "sh", "-c", command)
	if err != nil {
		return strings.TrimSpace(out) + " (" + err.Error() + ")"
	}
	return strings.TrimSpace(out)
}

func (n *node) ready(pods ...string) {
	n.Kubectl(append([]string{"wait", "pod", "--for=condition=Ready", "--timeout=" + cluster.Wait.String()}, pods...)...)
}

// is waits until a path of an object has a value.
func (n *node) is(object, path, want string) {
	n.Eventually(fmt.Sprintf("%s has %s", object, want), func() string {
		if got := n.Kubectl("get", object, "-o", "jsonpath="+path); got != want {
			return got
		}
		return ""
	})
}

// says waits until the description of a pod has a text in it.
func (n *node) says(pod, text string) {
	n.Eventually(fmt.Sprintf("%s says %s", pod, text), func() string {
		if got := n.Kubectl("describe", "pod", pod); !strings.Contains(got, text) {
			return got
		}
		return ""
	})
}

func run(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	require.NoError(t, err, "%s\n%s", command, out)
	return strings.TrimSpace(string(out))
}
