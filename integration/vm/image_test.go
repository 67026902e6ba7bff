package vm

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
)

// image takes the example image from this machine's engine.
func image(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "image.tar")
	out, err := exec.CommandContext(t.Context(), "docker", "save", "--output", path, "my-app:latest").CombinedOutput()
	require.NoError(t, err, "%s\nrun make example-image first", out)
	return path
}

// load waits for the virtual machine's engine and gives it the image.
func load(t *testing.T) {
	engine, err := client.New(client.FromEnv)
	require.NoError(t, err)
	defer engine.Close()
	require.Eventually(t, func() bool {
		_, err := engine.Ping(t.Context(), client.PingOptions{})
		return err == nil
	}, time.Minute, 100*time.Millisecond, "the engine does not come up")
	content, err := os.Open("/image.tar")
	require.NoError(t, err)
	defer content.Close()
	answer, err := engine.ImageLoad(t.Context(), content, client.ImageLoadWithQuiet(true))
	require.NoError(t, err)
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer) // it is loaded when that has been said to the end
	require.NoError(t, err)
}
