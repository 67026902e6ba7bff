package process

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReleaseProgram(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-00401000 r-xp 00000000 08:02 173521   /usr/bin/karved": true,
		"00401000-00402000 r--p 00001000 08:02 173521   /usr/bin/karved": true,
		"00402000-00403000 rw-p 00002000 08:02 173521   /usr/bin/karved": false,
		"00403000-00404000 r-xp 00000000 08:02 1        /usr/lib/other":  false,
		"00404000-00405000 r--p 00000000 00:00 0 ":                       false,
	} {
		_, _, ok := ofProgram(line, "/usr/bin/karved")
		require.Equal(t, want, ok, line)
	}
	before, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	releaseProgram() // and the program goes on
	after, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	require.NotEqual(t, string(before), string(after))
}
