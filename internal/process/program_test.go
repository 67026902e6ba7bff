package process

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReleaseFiles(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-00401000 r-xp 00000000 08:02 173521   /usr/bin/karved": true,
		"00401000-00402000 r--p 00001000 08:02 173521   /usr/bin/karved": true,
		"00402000-00403000 rw-p 00002000 08:02 173521   /usr/bin/karved": false,
		"00403000-00404000 r-xp 00000000 08:02 1        /usr/lib/other":  false,
		"00405000-00406000 r--s 00000000 fe:00 885494   /var/etcd/db":    true,
		"00406000-00407000 rw-s 00000000 fe:00 885494   /var/etcd/db":    false,
		"00404000-00405000 r--p 00000000 00:00 0 ":                       false,
	} {
		_, _, _, ok := release(line, "/usr/bin/karved")
		require.Equal(t, want, ok, line)
	}
	before, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	releaseFiles() // and the program goes on
	after, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	require.NotEqual(t, string(before), string(after))
}
