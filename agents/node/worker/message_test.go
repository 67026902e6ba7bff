package worker

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/volume"
)

// TestALongMessageTakesNoDisk has a container write without end where its last words are looked for.
func TestALongMessageTakesNoDisk(t *testing.T) {
	w := &worker{uid: "uid", pool: &Pool{cfg: Config{Volumes: volume.New(t.TempDir(), nil, nil, nil)}}}
	c := &runtime.Container{Meta: runtime.Meta{Container: "c"}}
	path := w.messagePath(c)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	for range 3 { // it goes on writing where it was
		_, err = f.WriteString(strings.Repeat("noise ", 1<<18) + strings.Repeat("x", maxMessage-len("the end")) + "the end")
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, trim(path))
		var st syscall.Stat_t
		require.NoError(t, syscall.Stat(path, &st))
		require.LessOrEqual(t, st.Blocks*512, int64(maxOnDisk))
		text := w.messageFromFile(c)
		require.Len(t, text, maxMessage)
		require.True(t, strings.HasSuffix(text, "xthe end"))
	}
}

// TestRoomReservedForAMessageTakesNoDisk has a container reserve room behind what it has written.
func TestRoomReservedForAMessageTakesNoDisk(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "message"))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("the end")
	require.NoError(t, err)
	require.NoError(t, syscall.Fallocate(int(f.Fd()), 1, 0, 4<<20)) // FALLOC_FL_KEEP_SIZE
	require.NoError(t, trim(f.Name()))
	var st syscall.Stat_t
	require.NoError(t, syscall.Stat(f.Name(), &st))
	require.LessOrEqual(t, st.Blocks*512, int64(maxOnDisk))
	require.EqualValues(t, 7, st.Size)
}
