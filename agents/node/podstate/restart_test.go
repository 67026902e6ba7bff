package podstate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/node/runtime"
)

// Who corrects the image of a container that crashes does not wait for the back-off of the old one.
func TestACorrectedImageStartsAtOnce(t *testing.T) {
	w := newWorld("a").sandbox(0, runtime.Running)
	old := Hash(&w.pod.Spec.Containers[0])
	w.has("a", 4, runtime.Exited, code(1), next(80*time.Second), func(c *runtime.Container) { c.Hash = old })
	require.Equal(t, []string{"wake in 1m19s"}, w.plan())

	w.pod.Spec.Containers[0].Image = "corrected"
	require.Equal(t, []string{"Start a/5 then 10s"}, w.plan())
}
