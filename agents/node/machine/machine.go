// Package machine reads what the node's machine is and how it is doing.
package machine

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"karve.dev/karve/internal/version"
)

// maxPods is how many pods a node takes, as by a kubelet's default.
const maxPods = 110

// Info is what a Node says about itself.
func Info() corev1.NodeSystemInfo {
	id := line("/etc/machine-id")
	return corev1.NodeSystemInfo{
		MachineID:       id,
		SystemUUID:      cmp.Or(line("/sys/class/dmi/id/product_uuid"), id), // as a kubelet does where the machine does not say
		BootID:          line("/proc/sys/kernel/random/boot_id"),
		KernelVersion:   line("/proc/sys/kernel/osrelease"),
		OSImage:         osImage(),
		KubeletVersion:  version.Server(),
		OperatingSystem: runtime.GOOS,
		Architecture:    runtime.GOARCH,

		RunningInUserNamespace: new(false),
	}
}

// Capacity is what the machine has; disk is the folder whose file system holds containers.
func Capacity(disk string) corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(memory("MemTotal"), resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(maxPods, resource.DecimalSI),
	}
	if st, err := diskUse(disk); err == nil {
		list[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(st.Blocks)*st.Bsize, resource.BinarySI)
	}
	addHugePages(list, hugePages)
	return list
}

// MaxProcesses is how many processes and threads the machine can have at once.
func MaxProcesses() int64 {
	n, err := strconv.ParseInt(line("/proc/sys/kernel/pid_max"), 10, 64)
	if err != nil {
		return 32768 // the kernel's default
	}
	return n
}

func diskUse(dir string) (unix.Statfs_t, error) {
	var st unix.Statfs_t
	if dir == "" {
		dir = "/"
	}
	if err := unix.Statfs(dir, &st); err != nil {
		return st, fmt.Errorf("measure the disk of %s: %w", dir, err)
	}
	return st, nil
}

// memory reads a figure of /proc/meminfo, in bytes.
func memory(name string) int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && fields[0] == name+":" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

func osImage() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return runtime.GOOS
}

func line(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Address is the machine's address on its way out; without one, loopback.
func Address() string {
	// Connecting a datagram socket chooses a route and sends nothing.
	conn, err := net.Dial("udp4", "203.0.113.1:9")
	if err != nil {
		return "127.0.0.1"
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP.String()
}

// MinOOMScoreAdj is the lowest oom_score_adj that containers may be given here: without CAP_SYS_RESOURCE nothing may
// go below what it has.
func MinOOMScoreAdj() int {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		return -1000
	}
	own, err := strconv.Atoi(line("/proc/self/oom_score_adj"))
	if err != nil {
		return 0
	}
	return own
}
