package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestHostPathOfEverything(t *testing.T) {
	w := newWorld(t, 14)
	info, err := w.cli.Info(t.Context(), client.InfoOptions{})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("seen"), 0o644))
	for name, path := range map[string]string{"root": "/", "parent": filepath.Dir(info.Info.DockerRootDir), "engine": info.Info.DockerRootDir} {
		p := once(name, "cat", "/host"+file)
		if path != "/" {
			p = once(name, "print", "seen")
		}
		p.Spec.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{mount("host", "/host")}
		w.create(p)
		require.Equal(t, "seen", strings.TrimSpace(w.output(name)), path)
	}
}
