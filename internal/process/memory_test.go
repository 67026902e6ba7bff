package process

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsGivenBackOnceAfterEveryBurst(t *testing.T) {
	s := settling{}
	require.False(t, s.due(20<<20), "the process is still starting")
	require.True(t, s.due(21<<20), "then it is quiet")
	require.False(t, s.due(22<<20), "nothing to speak of was made")
	require.False(t, s.due(100<<20), "the burst goes on")
	require.True(t, s.due(101<<20))
	require.False(t, s.due(102<<20), "it was given back already")
	require.False(t, s.due(300<<20))
	require.True(t, s.due(301<<20))
}
