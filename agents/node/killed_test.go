package node_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

// TestAgentAndEngineAreKilled kills the engine and cuts the agent off at random points while 200 pods come and go, each with
// a volume in memory. In the end exactly what the API says must run, and nothing else may be left: no container, no
// interface, no mount, no file, no process.
func TestAgentAndEngineAreKilled(t *testing.T) {
	e := newEngine(t)
	w := newWorldOn(t, 18, e.host)
	const pods, rounds = 10, 20
	wanted := map[string]bool{}
	for round := range rounds {
		for i := range pods {
			p := pod(fmt.Sprintf("p%d-%d", round, i), corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}})
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
			w.create(p)
			wanted[p.Name] = true
		}
		for name := range wanted {
			if len(wanted) > pods {
				w.delete(name, 1)
				delete(wanted, name)
			}
		}
		time.Sleep(rand.N(time.Second)) // any moment will do
		switch {
		case round%4 == 3:
			e.kill(os.Kill)
			e.start()
		case round%2 == 0:
			w.stop()
			w.start()
		}
	}
	for name := range wanted {
		w.wait(name, "running", running)
	}
	why := ""
	require.Eventually(t, func() bool {
		if why = w.unsettled(wanted); why == "" {
			why = w.leftovers(e, len(wanted))
		}
		return why == ""
	}, time.Minute, 100*time.Millisecond, "%s", &lazy{&why})
	for name := range wanted {
		require.Equal(t, name, lastLine(ask(t, w.wait(name, "running", running).Status.PodIP)))
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
		return fmt.Sprintf("%d pods have %d folders, %d mounts, %d interfaces and %d processes", pods, len(folders), n, wired, processes)
	}
	return ""
}

// interfaces counts what is plugged into the node's bridge.
func (w *world) interfaces() (n int) {
	links, err := netlink.LinkList()
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
