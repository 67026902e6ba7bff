package quota

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// TestALineGoesOnAfterAPanic: the namespace's next write is not held up for ever.
func TestALineGoesOnAfterAPanic(t *testing.T) {
	l := &Ledger{lines: map[string]*line{}, log: zap.NewNop(), life: t.Context()} // without objects: to ask for quotas panics
	for range 2 {
		require.ErrorContains(t, l.enqueue(t.Context(), "default", &entry{write: &Write{}}), "panicked")
	}
}
