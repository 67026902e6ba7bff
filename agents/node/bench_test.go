package node_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// BenchmarkPodStart compares a pod, from its assignment to the report that it runs, with the same two containers made
// by bare calls to the engine, one after the other, in the same run.
func BenchmarkPodStart(b *testing.B) {
	w := newWorld(b, 9)
	w.create(pod("first", corev1.Container{}))
	w.wait("first", "running", running)
	var bare, pods []time.Duration
	for i := range b.N {
		bare = append(bare, w.bareStart(b, i))
		name := fmt.Sprintf("pod-%d", i)
		begun := time.Now()
		w.create(pod(name, corev1.Container{}))
		w.wait(name, "running", running)
		pods = append(pods, time.Since(begun))
		w.delete(name, 0)
		w.wait(name, "gone", gone)
	}
	slices.Sort(bare)
	slices.Sort(pods)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(bare[len(bare)/2].Microseconds())/1000, "bare-p50-ms")
	b.ReportMetric(float64(pods[len(pods)/2].Microseconds())/1000, "pod-p50-ms")
	b.ReportMetric(float64(bare[len(bare)-1].Microseconds())/1000, "bare-max-ms")
	b.ReportMetric(float64(pods[len(pods)-1].Microseconds())/1000, "pod-max-ms")
}

// bareStart makes and starts two containers, the second in the network of the first.
func (w *world) bareStart(b *testing.B, i int) time.Duration {
	ctx := b.Context()
	begun := time.Now()
	first := w.bare(b, fmt.Sprintf("%s-bare-%d-a", w.cluster, i), &container.HostConfig{NetworkMode: "none", IpcMode: "shareable"})
	joined := "container:" + first
	second := w.bare(b, fmt.Sprintf("%s-bare-%d-b", w.cluster, i), &container.HostConfig{NetworkMode: container.NetworkMode(joined), IpcMode: container.IpcMode(joined)})
	took := time.Since(begun)
	for _, id := range []string{second, first} {
		_, err := w.cli.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
		require.NoError(b, err)
	}
	return took
}

func (w *world) bare(b *testing.B, name string, host *container.HostConfig) string {
	res, err := w.cli.ContainerCreate(b.Context(), client.ContainerCreateOptions{
		Name: name, HostConfig: host, Config: &container.Config{Image: appImage},
	})
	require.NoError(b, err)
	_, err = w.cli.ContainerStart(b.Context(), res.ID, client.ContainerStartOptions{})
	require.NoError(b, err)
	return res.ID
}

// BenchmarkPodsAtOnce starts b.N pods together, beside a plain loop of the same calls to the engine.
func BenchmarkPodsAtOnce(b *testing.B) {
	w := newWorld(b, 11)
	w.create(pod("first", corev1.Container{}))
	w.wait("first", "running", running)
	var bare time.Duration
	for i := range b.N {
		bare += w.bareStart(b, i)
	}
	begun := time.Now()
	for i := range b.N {
		w.create(pod(fmt.Sprintf("pod-%d", i), corev1.Container{}))
	}
	for i := range b.N {
		w.wait(fmt.Sprintf("pod-%d", i), "running", running)
	}
	took := time.Since(begun)
	for i := range b.N {
		w.delete(fmt.Sprintf("pod-%d", i), 0)
	}
	for i := range b.N {
		w.wait(fmt.Sprintf("pod-%d", i), "gone", gone)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(bare.Seconds(), "bare-s")
	b.ReportMetric(took.Seconds(), "pods-s")
}
