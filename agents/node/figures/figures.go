// Package figures adds up what a node's pods use: out of their control groups, their network namespaces and, when asked
// for, what they have written. Everything is read when somebody asks and not before.
package figures

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/cgroup"
	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/podserver"
	"karve.dev/karve/agents/node/runtime"
)

// Container is what one running container has used.
type Container struct {
	runtime.Container
	At time.Time
	// Group is the name of its control group.
	Group string
	cgroup.Usage
	// Layer is what it has written into its own file system, Logs what it has said; only with Want.Disk.
	Layer, Logs Space
	// Files are its open files, Sockets those that are sockets; only with Want.Disk.
	Files, Sockets int
}

// Pod is what a pod's running containers have used.
type Pod struct {
	*podserver.Pod
	// Sandbox is nil when its figures cannot be read.
	Sandbox    *Container
	Containers []Container
	// Network is nil for a pod on the machine's own.
	Network []machine.Interface
	// Volumes are those that live on the node; only with Want.Disk.
	Volumes []Volume
}

// Volume is what lies in one of a pod's volumes.
type Volume struct {
	Name string
	// Claim is the name of the PersistentVolumeClaim, if it is one.
	Claim string
	// Memory is true for a volume that lies in memory.
	Memory bool
	// Used is what lies in it, Disk the file system that it is on.
	Used Space
	Disk machine.Disk
}

// Want says what is to be measured.
type Want struct {
	// Disk measures what pods have written, which takes walking through it; figures up to a minute old may be returned.
	Disk bool
	// Namespace and Pod choose pods; empty: all.
	Namespace, Pod string
}

// Config is what a Collector reads.
type Config struct {
	// Pods are the node's.
	Pods func() []*podserver.Pod
	// PodsDir is where the files of pods are: volumes of one lie in <PodsDir>/<uid>/volumes.
	PodsDir string
	// EngineRoot returns where the engine keeps its files; empty when unknown.
	EngineRoot func() string
	// Pretended containers have no processes: they use nothing.
	Pretended bool
}

// Collector measures a node's pods. It is safe for concurrent use.
type Collector struct {
	cfg    Config
	groups func() (cgroup.Groups, error)
	walks  walks
	disks  machine.Disks
}

// patience is how long a server may take to say how full a volume is.
const patience = 2 * time.Second

// New returns a collector.
func New(cfg Config) *Collector {
	return &Collector{cfg: cfg, groups: sync.OnceValues(cgroup.Here), walks: walks{known: map[string]walk{}}}
}

// Pods measures the pods that are wanted, in the order of their names. What ends meanwhile is left out.
func (c *Collector) Pods(ctx context.Context, want Want) ([]Pod, error) {
	var chosen []*podserver.Pod
	for _, p := range c.cfg.Pods() {
		if (want.Namespace == "" || want.Namespace == p.Spec.Namespace) && (want.Pod == "" || want.Pod == p.Spec.Name) {
			chosen = append(chosen, p)
		}
	}
	slices.SortFunc(chosen, func(a, b *podserver.Pod) int {
		return cmp.Or(cmp.Compare(a.Spec.Namespace, b.Spec.Namespace), cmp.Compare(a.Spec.Name, b.Spec.Name))
	})
	return c.Measure(ctx, chosen, want)
}

// Measure measures the given pods.
func (c *Collector) Measure(ctx context.Context, pods []*podserver.Pod, want Want) ([]Pod, error) {
	groups, err := c.groups()
	if err != nil {
		return nil, err
	}
	out := make([]Pod, 0, len(pods))
	for _, p := range pods {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out = append(out, c.pod(ctx, groups, p, want))
	}
	return out, nil
}

func (c *Collector) pod(ctx context.Context, groups cgroup.Groups, p *podserver.Pod, want Want) Pod {
	out := Pod{Pod: p}
	if p.Sandbox != nil && p.Sandbox.State == runtime.Running && !c.cfg.Pretended {
		if sandbox, ok := c.container(groups, p.Sandbox); ok {
			out.Sandbox = &sandbox
			if !p.Spec.Spec.HostNetwork {
				out.Network, _ = machine.Network(p.Sandbox.PID)
			}
		}
	}
	for _, list := range p.Containers {
		for i := range list {
			if list[i].State != runtime.Running {
				continue
			}
			if one, ok := c.container(groups, &list[i]); ok {
				out.Containers = append(out.Containers, one)
			}
		}
	}
	slices.SortFunc(out.Containers, func(a, b Container) int { return cmp.Compare(a.Meta.Container, b.Meta.Container) })
	if want.Disk && !c.cfg.Pretended {
		c.written(ctx, &out)
	}
	return out
}

func (c *Collector) container(groups cgroup.Groups, of *runtime.Container) (Container, bool) {
	out := Container{Container: *of, At: time.Now()}
	if c.cfg.Pretended || of.PID <= 0 {
		return out, c.cfg.Pretended
	}
	group, err := groups.OfProcess(of.PID)
	if err != nil {
		return out, false
	}
	out.Group = group.Path
	out.Usage, err = group.Usage()
	return out, err == nil
}

// written measures what a pod's containers and volumes have on disk.
func (c *Collector) written(ctx context.Context, p *Pod) {
	root := c.cfg.EngineRoot()
	groups, err := c.groups()
	for i := range p.Containers {
		one := &p.Containers[i]
		if err == nil {
			one.Files, one.Sockets = opened(groups, one.PID)
		}
		if layer := layerOf(one.PID); layer != "" {
			one.Layer = c.walks.space(ctx, layer)
		}
		if root != "" {
			one.Logs = logs(filepath.Join(root, "containers", one.ID), one.ID)
		}
	}
	for i := range p.Spec.Spec.Volumes {
		if v, ok := c.volume(ctx, p.Pod, &p.Spec.Spec.Volumes[i]); ok {
			p.Volumes = append(p.Volumes, v)
		}
	}
}

// Claims measures the file systems of the claims that pods use.
func (c *Collector) Claims(ctx context.Context) []Claim {
	var out []Claim
	for _, p := range c.cfg.Pods() {
		for i := range p.Spec.Spec.Volumes {
			spec := &p.Spec.Spec.Volumes[i]
			if spec.PersistentVolumeClaim == nil && spec.Ephemeral == nil || p.Volumes[spec.Name] == "" {
				continue
			}
			if v, ok := c.volume(ctx, p, spec); ok {
				out = append(out, Claim{p.Spec.Namespace, v})
			}
		}
	}
	return out
}

// Claim is a volume that is a claim.
type Claim struct {
	Namespace string
	Volume
}

// volume measures a volume of the kinds that pods write to and that the node holds, and claims. What lies in a claim is
// what its file system has, which costs nothing to find out.
func (c *Collector) volume(ctx context.Context, p *podserver.Pod, v *corev1.Volume) (Volume, bool) {
	dir := cmp.Or(p.Volumes[v.Name], filepath.Join(c.cfg.PodsDir, filepath.Base(string(p.Spec.UID)), "volumes", v.Name))
	out := Volume{Name: v.Name}
	switch {
	case v.EmptyDir != nil:
		out.Memory = v.EmptyDir.Medium == corev1.StorageMediumMemory
	case v.PersistentVolumeClaim != nil:
		out.Claim = v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		out.Claim = p.Spec.Name + "-" + v.Name
	case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil:
	default:
		return out, false
	}
	var err error
	if out.Disk, err = c.disks.Of(dir, patience); err != nil {
		return out, false
	}
	if out.Claim != "" {
		out.Used = Space{Bytes: out.Disk.Used(), Inodes: out.Disk.Inodes - out.Disk.InodesFree, At: time.Now()}
		return out, true
	}
	out.Used = c.walks.space(ctx, dir)
	return out, true
}

// layerOf finds the folder into which a container's writes go: that of its overlay.
func layerOf(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[4] != "/" {
			continue
		}
		_, rest, _ := strings.Cut(line, " - overlay ")
		_, upper, ok := strings.Cut(rest, ",upperdir=")
		if !ok {
			return ""
		}
		upper, _, _ = strings.Cut(upper, ",")
		return upper
	}
	return ""
}

// logs adds up a container's log and its rotated ones.
func logs(dir, id string) Space {
	files, err := filepath.Glob(filepath.Join(dir, id+"-json.log*"))
	out := Space{At: time.Now()}
	if err != nil {
		return out
	}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			out.Bytes += info.Size()
			out.Inodes++
		}
	}
	return out
}
