package process

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent is how much garbage there may be besides what is in use. Most of what a daemon holds are bytes that
	// the collector need not look into, so that collecting twice as often as Go does by itself costs little.
	gcPercent = 50
	// settleEvery is how often the daemon looks whether it has become quiet.
	settleEvery = 3 * time.Second
	// quietBytes is what a quiet daemon makes at most in that time.
	quietBytes = 4 << 20
	// worthBytes is how much must have been made since the last time for there to be something to give back.
	worthBytes = 64 << 20
)

// KeepMemoryLow makes the process small again after work: the runtime would keep the pages of a burst for minutes. It
// returns when ctx ends. GOGC, when set, counts instead of its own choice.
func KeepMemoryLow(ctx context.Context) error {
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	}
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	s := settling{made: bytesMade()}
	for {
		select {
		case <-tick.C:
			if s.due(bytesMade()) {
				debug.FreeOSMemory()
				releaseFiles()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// settling decides when memory is given back: after the start, and once after every burst, when it is over.
type settling struct {
	made  uint64 // so far, when it last looked
	given uint64 // the same when memory was last given back
	began bool   // the start is over
}

// due takes how many bytes the process has made since it began.
func (s *settling) due(made uint64) bool {
	quiet := made-s.made <= quietBytes
	s.made = made
	if !quiet || s.began && made-s.given < worthBytes {
		return false
	}
	s.began = true
	s.given = made
	return true
}

func bytesMade() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
