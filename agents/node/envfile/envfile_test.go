package envfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const file = `# written by an init container
A='one'
  B='two' # a comment

LONG='first
 $A second'
EMPTY= 'nothing'
LAST='3'`

func TestFind(t *testing.T) {
	for name, want := range map[string]string{"A": "one", "B": "two", "LONG": "first\n $A second", "EMPTY": "", "LAST": "3", "NONE": ""} {
		got, err := Find(file, name)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	for text, want := range map[string]string{
		"A='1'\n\nB":         "line 3: a definition needs a =",
		"A='1\n2'\nB=2":      "line 3: a value needs single quotes",
		"B ='2'":             "line 1: a name is needed right before the =",
		"# x\nB='2\nC='3'\n": "line 2: something follows the value",
		"B='2":               "line 1: a quote is not closed",
	} {
		_, err := Find(text, "C")
		require.EqualError(t, err, want, text)
	}
}

func TestReadStaysInTheVolume(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	volume := filepath.Join(dir, "volume")
	require.NoError(t, os.Mkdir(volume, 0o755))
	require.NoError(t, os.WriteFile(outside, []byte("A='secret'"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(volume, "env"), []byte(file), 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(volume, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(volume, "pipe"), 0o644))
	got, err := Read(volume, "env", "A")
	require.NoError(t, err)
	require.Equal(t, "one", got)
	for _, path := range []string{"link", "pipe", "../outside", "none"} {
		_, err := Read(volume, path, "A")
		require.Error(t, err, path)
	}
}
