package figures

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/cgroup"
	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/podserver"
	"karve.dev/karve/agents/node/runtime"
)

func TestRatesBetweenTwoSamples(t *testing.T) {
	begin := time.Now()
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	pod := Pod{
		Pod: &podserver.Pod{Spec: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}},
		Containers: []Container{
			{Container: runtime.Container{ID: "old", Meta: runtime.Meta{Container: "a"}}, Usage: cgroup.Usage{WorkingSet: 10}},
			{Container: runtime.Container{ID: "new", Meta: runtime.Meta{Container: "b"}, StartedAt: at(5)}},
		},
	}
	before := sample{at: at(0), machine: spent{at(0), 100 * time.Second}, containers: map[string]spent{"old": {at(0), time.Second}}}
	after := sample{at: at(10), machine: spent{at(10), 115 * time.Second}, containers: map[string]spent{"old": {at(10), 6 * time.Second}, "new": {at(10), time.Second}}}
	got := answer(before, after, []Pod{pod}, machine.Figures{Memory: 100, MemoryFree: 30})
	require.Equal(t, Use{CPU: 1.5, Memory: 70}, got.Machine)
	require.Equal(t, []ContainerUse{
		{Name: "a", Use: Use{CPU: 0.5, Memory: 10}, Window: 10 * time.Second},
		{Name: "b", Use: Use{CPU: 0.2}, Window: 5 * time.Second},
	}, got.Pods[0].Containers)
	require.Equal(t, 10*time.Second, got.Window)
}

// TestOwnProcess takes the test itself for a container.
func TestOwnProcess(t *testing.T) {
	pods := t.TempDir()
	volume := filepath.Join(pods, "uid", "volumes", "v")
	require.NoError(t, os.MkdirAll(volume, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(volume, "file"), make([]byte, 1<<20), 0o600))
	require.NoError(t, os.Link(filepath.Join(volume, "file"), filepath.Join(volume, "again")))
	self := runtime.Container{ID: "self", PID: os.Getpid(), State: runtime.Running, Meta: runtime.Meta{Container: "app"}}
	pod := &podserver.Pod{Containers: map[string][]runtime.Container{"app": {self}}, Spec: &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "uid"},
		Spec:       corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}},
	}}
	c := New(Config{Pods: func() []*podserver.Pod { return []*podserver.Pod{pod} }, PodsDir: pods, EngineRoot: func() string { return "" }})
	got, err := c.Pods(context.Background(), Want{Disk: true, Namespace: "default"})
	require.NoError(t, err)
	require.Len(t, got[0].Containers, 1)
	require.Positive(t, got[0].Containers[0].Memory)
	require.Len(t, got[0].Volumes, 1)
	require.InDelta(t, 1<<20, got[0].Volumes[0].Used.Bytes, 64<<10, "a file with two names counts once")
	require.EqualValues(t, 2, got[0].Volumes[0].Used.Inodes)
	none, err := c.Pods(context.Background(), Want{Namespace: "other"})
	require.NoError(t, err)
	require.Empty(t, none)

	rates := NewRates(c, machine.Proc{NodeDir: pods})
	first, err := rates.Now(context.Background())
	require.NoError(t, err)
	require.Len(t, first.Pods, 1)
	again, err := rates.Now(context.Background())
	require.NoError(t, err)
	require.Equal(t, first, again, "whoever asks at once gets the same answer")
}
