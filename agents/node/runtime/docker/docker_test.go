package docker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/node/runtime/runtimetest"
)

func TestContract(t *testing.T) {
	rt, err := New(Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rt.Close() })
	if _, err := rt.Info(t.Context()); err != nil || testing.Short() {
		t.Skip("needs a Docker Engine: ", err)
	}
	require.NoError(t, rt.loadPause(t.Context()))
	runtimetest.Run(t, rt, rt.pause.Name)
}
