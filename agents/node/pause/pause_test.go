package pause

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgramsAreValidELF(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := Program(arch)
		require.NoError(t, err)
		f, err := elf.NewFile(bytes.NewReader(program))
		require.NoError(t, err)
		require.Equal(t, machine, f.Machine)
		require.Less(t, len(program), 512)
	}
	_, err := Program("z80")
	require.Error(t, err)
}

func TestItSleepsUntilItIsTold(t *testing.T) {
	program, err := Program(runtime.GOARCH)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "pause")
	require.NoError(t, os.WriteFile(path, program, 0o755))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := exec.Command(path)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		require.NoError(t, cmd.Process.Signal(syscall.SIGCHLD))
		select {
		case err := <-ended:
			t.Fatalf("ended by itself: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		require.NoError(t, cmd.Process.Signal(sig))
		select {
		case err := <-ended:
			require.NoError(t, err, "it ends cleanly")
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			t.Fatalf("%s does not end it", sig)
		}
	}
}

func TestImageIsReproducible(t *testing.T) {
	first, err := NewImage("arm64")
	require.NoError(t, err)
	second, err := NewImage("arm64")
	require.NoError(t, err)
	require.Equal(t, first, second)
}
