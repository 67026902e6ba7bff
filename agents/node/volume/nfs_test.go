package volume

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNFSLocks: only version 3 keeps locks by a program of its own. Real servers are in integration/vm.
func TestNFSLocks(t *testing.T) {
	for options, needed := range map[[2]string]bool{
		{"vers=3", "ro"}: true, {"nfsvers=3", ""}: true, {"vers=3", "nolock"}: false, {"vers=3", "local_lock=all"}: false, {"vers=4.2", ""}: false,
	} {
		require.Equal(t, needed, oldLocks(options[:]), options)
	}
}
