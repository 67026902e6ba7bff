package machine

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Figures are how a machine is doing at one moment.
type Figures struct {
	At   time.Time
	Boot time.Time
	// CPU is the time that all processors together have been busy since the start.
	CPU   time.Duration
	Cores int
	// Memory is what the machine has, MemoryFree what programs can still get; both in bytes.
	Memory, MemoryFree int64
	RSS, Cache         int64
	Swap, SwapFree     int64
	Faults, BigFaults  int64
	// NodeDisk holds the node's own files and its pods' volumes, ImageDisk images and containers.
	NodeDisk, ImageDisk Disk
	// Processes counts all threads, which is what the kernel bounds.
	Processes, MaxProcesses int64
	Network                 []Interface
}

// Disk is a file system, in bytes and inodes.
type Disk struct {
	Total, Free        int64
	Inodes, InodesFree int64
	// Device tells file systems apart.
	Device uint64
}

// SeparateImages tells whether images and containers are on a disk of their own.
func (f *Figures) SeparateImages() bool { return f.NodeDisk.Device != f.ImageDisk.Device }

// Used is what is taken.
func (d Disk) Used() int64 { return d.Total - d.Free }

// Interface is what has gone through a network interface.
type Interface struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped int64
	TxBytes, TxPackets, TxErrors, TxDropped int64
}

// Reader reads figures. Each read stands for itself: nothing is kept, and a node under test may make its figures up.
type Reader interface {
	Read() (Figures, error)
}

// Proc reads what the kernel tells of this machine.
type Proc struct {
	// NodeDir and ImageDir are folders on the two file systems; ImageDir may be empty: it is on the first one.
	NodeDir, ImageDir string
}

var _ Reader = Proc{}

// Read implements Reader.
func (p Proc) Read() (Figures, error) {
	f := Figures{At: time.Now(), Cores: runtime.NumCPU()}
	if err := f.readMemory(); err != nil {
		return f, err
	}
	f.readStat()
	f.readProcesses()
	var err error
	if f.NodeDisk, err = disk(p.NodeDir); err != nil {
		return f, err
	}
	f.ImageDisk = f.NodeDisk
	if p.ImageDir != "" {
		// An engine elsewhere has no folder here.
		if images, err := disk(p.ImageDir); err == nil {
			f.ImageDisk = images
		}
	}
	all, _ := Network(os.Getpid())
	f.Network = slices.DeleteFunc(all, func(n Interface) bool { return leadsToAPod(n.Name) })
	return f, nil
}

// leadsToAPod tells the machine's ends of pods' and containers' interfaces from what the machine itself has.
func leadsToAPod(name string) bool {
	return strings.HasPrefix(name, "kvp") || strings.HasPrefix(name, "veth")
}

func (f *Figures) readMemory() error {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("measure memory: %w", err)
	}
	defer file.Close()
	fields := meminfo(file)
	f.Memory, f.MemoryFree = fields["MemTotal"], fields["MemAvailable"]
	f.RSS, f.Cache = fields["AnonPages"], fields["Cached"]
	f.Swap, f.SwapFree = fields["SwapTotal"], fields["SwapFree"]
	return nil
}

func meminfo(r io.Reader) map[string]int64 {
	out := make(map[string]int64, 60)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			out[name] = kib << 10
		}
	}
	return out
}

// tick is the unit of times in /proc/stat.
const tick = time.Second / 100

func (f *Figures) readStat() {
	for text := range strings.SplitSeq(line("/proc/stat"), "\n") {
		fields := strings.Fields(text)
		switch {
		case len(fields) > 8 && fields[0] == "cpu":
			f.CPU = busy(fields[1:])
		case len(fields) == 2 && fields[0] == "btime":
			seconds, _ := strconv.ParseInt(fields[1], 10, 64)
			f.Boot = time.Unix(seconds, 0)
		}
	}
	for text := range strings.SplitSeq(line("/proc/vmstat"), "\n") {
		name, value, _ := strings.Cut(text, " ")
		switch name {
		case "pgfault":
			f.Faults, _ = strconv.ParseInt(value, 10, 64)
		case "pgmajfault":
			f.BigFaults, _ = strconv.ParseInt(value, 10, 64)
		}
	}
}

// busy adds up the times of a processor but for idle and iowait (the fourth and fifth) and for what guests used, which
// user time has in it.
func busy(times []string) time.Duration {
	var sum int64
	for i, text := range times[:min(len(times), 8)] {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && i != 3 && i != 4 {
			sum += n
		}
	}
	return time.Duration(sum) * tick
}

func (f *Figures) readProcesses() {
	f.MaxProcesses = MaxProcesses()
	if threads, err := strconv.ParseInt(line("/proc/sys/kernel/threads-max"), 10, 64); err == nil && threads < f.MaxProcesses {
		f.MaxProcesses = threads
	}
	if fields := strings.Fields(line("/proc/loadavg")); len(fields) > 3 {
		_, total, _ := strings.Cut(fields[3], "/")
		f.Processes, _ = strconv.ParseInt(total, 10, 64)
	}
}

func disk(dir string) (Disk, error) {
	st, err := diskUse(dir)
	if err != nil {
		return Disk{}, err
	}
	return Disk{
		Total: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize,
		Inodes: int64(st.Files), InodesFree: int64(st.Ffree),
		Device: uint64(uint32(st.Fsid.Val[0])) | uint64(uint32(st.Fsid.Val[1]))<<32,
	}, nil
}

// Network reads the interfaces of a process's network namespace, but for loopback.
func Network(pid int) ([]Interface, error) {
	file, err := os.Open("/proc/" + strconv.Itoa(pid) + "/net/dev")
	if err != nil {
		return nil, fmt.Errorf("measure network: %w", err)
	}
	defer file.Close()
	return interfaces(file), nil
}

func interfaces(r io.Reader) []Interface {
	var out []Interface
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || len(fields) < 16 || name == "lo" {
			continue
		}
		var n [16]int64
		for i := range n {
			n[i], _ = strconv.ParseInt(fields[i], 10, 64)
		}
		out = append(out, Interface{
			Name: name, RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		})
	}
	return out
}
