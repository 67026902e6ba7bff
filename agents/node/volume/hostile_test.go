package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/podfield"
)

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

func TestWhatAContainerPutsInASubPathsWay(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, os.ModeSetgid|0o777))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o666))
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "absolute")))
	require.NoError(t, os.Symlink("../..", filepath.Join(dir, "up")))
	require.NoError(t, os.Symlink("/proc/self/root", filepath.Join(dir, "magic")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "inside"), 0o755))
	require.NoError(t, os.Symlink("inside", filepath.Join(dir, "within")))
	m := New(t.TempDir(), nil, nil, nil)
	t.Cleanup(func() { require.NoError(t, m.Teardown("uid")) })
	place := Place{"uid", "c", 0}
	for _, path := range []string{"absolute", "absolute/new", "up", "up/new", "magic/etc", "/etc", "a/../../b", ".."} {
		_, err := m.SubPath(place, dir, path)
		require.Error(t, err, path)
	}
	require.NoFileExists(t, "/etc/new")
	path, err := m.SubPath(place, dir, "pipe") // does not wait for somebody who writes
	require.NoError(t, err)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeNamedPipe)
	path, err = m.SubPath(place, dir, "within")
	require.NoError(t, err)
	require.DirExists(t, path)
	path, err = m.SubPath(place, dir, "made/deep")
	require.NoError(t, err)
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSetgid|0o777, info.Mode()&(os.ModePerm|os.ModeSetgid), "as the volume is")
}

func TestRecursiveReadOnlyReachesWhatIsMountedBelow(t *testing.T) {
	needsRoot(t)
	dir, below := t.TempDir(), ""
	below = filepath.Join(dir, "below")
	require.NoError(t, os.Mkdir(below, 0o755))
	require.NoError(t, unix.Mount("tmpfs", below, "tmpfs", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(below, unix.MNT_DETACH)) })
	m := New(t.TempDir(), nil, nil, nil)
	t.Cleanup(func() { require.NoError(t, m.Teardown("uid")) })
	path, err := m.RecursiveReadOnly(Place{"uid", "c", 0}, dir, corev1.RecursiveReadOnlyEnabled)
	require.NoError(t, err)
	for _, at := range []string{path, filepath.Join(path, "below")} {
		require.ErrorIs(t, os.WriteFile(filepath.Join(at, "f"), nil, 0o600), unix.EROFS)
	}
	require.NoError(t, os.WriteFile(filepath.Join(below, "f"), nil, 0o600), "others may write")
}

func TestAnImageVolumeShowsItsLayers(t *testing.T) {
	needsRoot(t)
	layers := func(n int) (out []string) {
		for i := range n {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "who"), fmt.Append(nil, i), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("of", i)), nil, 0o644))
			out = append(out, dir)
		}
		return out
	}
	for _, n := range []int{1, 3, 120} {
		m := New(t.TempDir(), nil, nil, nil)
		pod := testPod(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "x"}})
		for range 2 {
			out, err := m.Prepare(context.Background(), pod, &podfield.Facts{}, map[string][]string{"v": layers(n)})
			require.NoError(t, err)
			require.Equal(t, "0", read(t, filepath.Join(out.Paths["v"], "who")), "the topmost wins")
			require.FileExists(t, filepath.Join(out.Paths["v"], fmt.Sprint("of", n-1)))
			require.ErrorIs(t, os.WriteFile(filepath.Join(out.Paths["v"], "f"), nil, 0o600), unix.EROFS)
		}
		require.NoError(t, m.Teardown("uid"))
	}
}

func TestFoldersThatAreNestedWithoutEndAreRemoved(t *testing.T) {
	m := New(t.TempDir(), nil, nil, nil)
	dir := m.podDir("uid")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for range 2000 { // built from the inside out: no path is too long
		require.NoError(t, root.Mkdir("next", 0o700))
		err := root.Rename("deep", "next/deep")
		require.True(t, err == nil || os.IsNotExist(err))
		require.NoError(t, root.Rename("next", "deep"))
	}
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	few := unix.Rlimit{Cur: 256, Max: limit.Max}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	require.NoError(t, m.Teardown("uid"))
	require.NoDirExists(t, dir)
}
