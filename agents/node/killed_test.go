package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/internal/chance"
)

// TestAgentAndEngineAreKilled kills the agent's process, the engine with its containerd, and both at once, at random
// points while 200 pods come and go, each with a volume in memory. In the end exactly what the API says must run, and
// nothing else may be left: no container, no interface, no mount, no file, no process.
func TestAgentAndEngineAreKilled(t *testing.T) {
	e := newEngine(t)
	w := newWorldOn(t, 18, e.host)
	w.outside(e.host)
	chances := chance.New(t)
	faults := []func(){
		func() { w.kill(); w.restart() },
		func() { e.kill(os.Kill); e.start() },
		func() { both(w.kill, func() { e.kill(os.Kill) }); e.start(); w.restart() },
		func() { both(w.kill, func() { e.kill(os.Kill) }); w.restart(); e.start() },
	}
	order := chance.Another(chances)
	var wanted map[string]bool
	var coming sync.WaitGroup
	coming.Go(func() { wanted = w.comeAndGo(order, 200, 10) })
	came := make(chan struct{})
	go func() { coming.Wait(); close(came) }()
	for going := true; going; {
		select {
		case <-came:
			going = false
		case <-time.After(500*time.Millisecond + time.Duration(chances.Int64N(int64(2*time.Second)))): // any moment will do
			faults[chances.IntN(len(faults))]()
		}
	}
	for name := range wanted {
		w.wait(name, "running", running)
	}
	w.kill() // what the engine has left behind is looked for at a start, and now and then
	w.restart()
	why := "the engine does not answer"
	require.Eventually(t, func() bool {
		now := w.unsettled(wanted)
		if now == "" {
			now = w.leftovers(e, len(wanted))
		}
		why = now
		return why == ""
	}, time.Minute, 100*time.Millisecond, "%s", &lazy{&why})
	w.answersAtItsOwnAddress(wanted)
}

func both(one, other func()) {
	var done sync.WaitGroup
	done.Go(one)
	done.Go(other)
	done.Wait()
}

// comeAndGo creates pods one after the other and deletes others, by request or by force, so that so many are left; some
// are made again under the name of one that has gone by force. It returns the names of those that are to be there in the
// end.
func (w *world) comeAndGo(chances *rand.Rand, pods, left int) map[string]bool {
	wanted := map[string]bool{}
	var names []string
	create := func(name string) {
		p := pod(name, corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}})
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
		w.create(p)
		wanted[name] = true
		names = append(names, name)
	}
	for made := 0; made < pods; made++ {
		create(fmt.Sprintf("p%d", made))
		time.Sleep(time.Duration(chances.Int64N(int64(150 * time.Millisecond))))
		for len(names) > left {
			i := chances.IntN(len(names))
			name := names[i]
			names = append(names[:i], names[i+1:]...)
			delete(wanted, name)
			switch chances.IntN(4) {
			case 0:
				w.remove(name)
			case 1:
				w.remove(name)
				if made++; made < pods {
					create(name)
				}
			default:
				w.delete(name, 1)
			}
		}
	}
	return wanted
}

// answersAtItsOwnAddress asks each pod at the address of its status, which must be its sandbox's and nobody else's.
func (w *world) answersAtItsOwnAddress(wanted map[string]bool) {
	all, err := w.rt.List(context.Background(), runtime.Owner{Cluster: w.cluster, Node: nodeName})
	require.NoError(w.t, err)
	owners := map[string]string{}
	for _, c := range all {
		if c.IsSandbox() {
			require.Empty(w.t, owners[c.Address], "no address is used twice")
			owners[c.Address] = c.Pod
		}
	}
	for name := range wanted {
		ip := w.wait(name, "running", running).Status.PodIP
		require.Equal(w.t, name, owners[ip])
		require.Equal(w.t, name, lastLine(ask(w.t, ip)))
	}
}

// leftovers tells what is on the machine beside what a number of pods has; empty when that is all.
func (w *world) leftovers(e *engine, pods int) string {
	folders, err := os.ReadDir(filepath.Join(w.dataDir, "pods"))
	require.NoError(w.t, err)
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(w.t, err)
	n, wired, processes := strings.Count(string(mounts), " "+w.dataDir), w.interfaces(), len(e.processes())
	if len(folders) != pods || n != pods || wired != pods || processes != 2*pods {
		return fmt.Sprintf("%d pods have %d folders, %d mounts, %d interfaces and %d processes: %s",
			pods, len(folders), n, wired, processes, strings.Join(w.strangers(e), ", "))
	}
	v1, _ := filepath.Glob("/sys/fs/cgroup/pids" + e.group() + "/*")
	v2, _ := filepath.Glob("/sys/fs/cgroup" + e.group() + "/*")
	if dirs := onlyDirs(append(v1, v2...)); dirs != 2*pods {
		return fmt.Sprintf("%d pods have %d control groups", pods, dirs)
	}
	return ""
}

// strangers are the processes in the engine's control group that are in no container that it knows.
func (w *world) strangers(e *engine) (out []string) {
	all, err := w.rt.List(context.Background(), runtime.Owner{Cluster: w.cluster, Node: nodeName})
	require.NoError(w.t, err)
	for _, pid := range e.processes() {
		group, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if !slices.ContainsFunc(all, func(c runtime.Container) bool { return strings.Contains(string(group), c.ID) }) {
			first, _, _ := strings.Cut(string(group), "\n")
			out = append(out, fmt.Sprintf("%d %q in %s", pid, command, first))
		}
	}
	return out
}

func onlyDirs(paths []string) (n int) {
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			n++
		}
	}
	return n
}

// interfaces counts what is plugged into the node's bridge; -1 when it has to be asked again.
func (w *world) interfaces() (n int) {
	links, err := netlink.LinkList()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return -1
	}
	require.NoError(w.t, err)
	bridge := 0
	for _, l := range links {
		if l.Attrs().Alias == "karve "+w.cluster+"/"+nodeName {
			bridge = l.Attrs().Index
		}
	}
	require.NotZero(w.t, bridge)
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge {
			n++
		}
	}
	return n
}
