package checkpoint

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

func set(kind, name, content string) *nodev1.Change {
	return &nodev1.Change{Op: nodev1.Change_OP_SET, Kind: kind, Namespace: "ns", Name: name, Object: []byte(content)}
}

func remove(kind, name string) *nodev1.Change {
	return &nodev1.Change{Op: nodev1.Change_OP_REMOVE, Kind: kind, Namespace: "ns", Name: name}
}

// kept is what an agent that starts anew finds.
func kept(t *testing.T, dir string) (out []string) {
	for _, c := range New(dir, zap.NewNop()).Load() {
		out = append(out, c.GetKind()+" "+c.GetName()+" "+string(c.GetObject()))
	}
	slices.Sort(out)
	return out
}

func newDir(t *testing.T) string {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := filepath.Join(t.TempDir(), "checkpoint")
	t.Cleanup(func() {
		require.NoError(t, Remove(dir))
		require.NoDirExists(t, dir)
	})
	return dir
}

func TestWhatWasSaidIsKept(t *testing.T) {
	dir := newDir(t)
	s := New(dir, zap.NewNop())
	for _, c := range []*nodev1.Change{
		set("Pod", "a", "1"), set("Pod", "b", "1"), set("ConfigMap", "a", "1"), set("Secret", "a", "hunter2"), set("Pod", "a", "2"), remove("Pod", "b"),
	} {
		s.Note(c)
	}
	s.write()
	require.Equal(t, []string{"ConfigMap a 1", "Pod a 2", "Secret a hunter2"}, kept(t, dir))

	// A complete list leaves out what is gone, but not what is told after it.
	s.Complete(map[string]bool{Key("Pod", "ns", "a"): true})
	s.Note(set("Pod", "c", "1"))
	s.write()
	require.Equal(t, []string{"Pod a 2", "Pod c 1"}, kept(t, dir))
}

func TestSecretsAreInMemoryOnly(t *testing.T) {
	dir := newDir(t)
	s := New(dir, zap.NewNop())
	s.Note(set("Secret", "a", "hunter2"))
	s.Note(set("Pod", "a", "1"))
	s.write()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(filepath.Join(dir, "secrets"), &st))
	require.EqualValues(t, unix.TMPFS_MAGIC, st.Type)
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
		if !e.IsDir() && !strings.HasPrefix(path, filepath.Join(dir, "secrets")) {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NotContains(t, string(text), "hunter2")
		}
		return nil
	}))
	// The machine restarts.
	require.NoError(t, unix.Unmount(filepath.Join(dir, "secrets"), 0))
	require.Equal(t, []string{"Pod a 1"}, kept(t, dir))
}

// TestTheCheckpointIsBounded: what does not fit is not kept, and no older state of it either.
func TestTheCheckpointIsBounded(t *testing.T) {
	dir := newDir(t)
	s := New(dir, zap.NewNop())
	s.shelves[0].limit = 1000
	s.Note(set("ConfigMap", "large", strings.Repeat("x", 900)))
	s.write()
	require.Len(t, kept(t, dir), 1)
	s.Note(set("ConfigMap", "large", strings.Repeat("x", 1001)))
	s.Note(set("ConfigMap", "small", "x"))
	s.write()
	require.Equal(t, []string{"ConfigMap small x"}, kept(t, dir))
}

// TestWhatCannotBeWrittenIsForgotten: of a pod that has been deleted since, an older state would begin it again.
func TestWhatCannotBeWrittenIsForgotten(t *testing.T) {
	dir := newDir(t)
	s := New(dir, zap.NewNop())
	s.Note(set("Pod", "a", "runs"))
	s.write()
	require.Len(t, kept(t, dir), 1)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "objects", next), 0o700)) // so that no file can be written there
	s.Note(set("Pod", "a", "is deleted"))
	s.write()
	require.Empty(t, kept(t, dir))
}
