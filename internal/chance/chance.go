// Package chance lets tests do things at random, and again as they were done.
package chance

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// New returns chances for a test. It logs what they come from; $KARVE_SEED brings them back.
func New(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KARVE_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("KARVE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Another returns chances of their own for something that happens at the same time.
func Another(from *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(from.Uint64(), 1)) }
