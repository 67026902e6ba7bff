package simulated

import (
	"testing"

	"karve.dev/karve/agents/node/runtime/runtimetest"
)

func TestContract(t *testing.T) { runtimetest.Run(t, New(), "app:1") }
