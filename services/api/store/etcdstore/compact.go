package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"karve.dev/karve/services/api/store"
)

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	if _, err := s.client.Compact(ctx, revision); err != nil {
		return fmt.Errorf("compact: %w", translate(err))
	}
	return nil
}

// sample is the revision at a time.
type sample struct {
	at       time.Time
	revision int64
}

// history decides what may be forgotten.
type history struct {
	keep     time.Duration
	min, max int64
	// worth is how many revisions a compaction must free to be worth a write.
	worth   int64
	samples []sample
	done    int64 // the last compaction
}

// next takes the newest revision and returns which one to compact at, or 0 for none.
func (h *history) next(now time.Time, revision int64) int64 {
	h.samples = append(h.samples, sample{now, revision})
	for len(h.samples) > 1 && !h.samples[1].at.After(now.Add(-h.keep)) {
		h.samples = h.samples[1:]
	}
	var old int64
	if first := h.samples[0]; !first.at.After(now.Add(-h.keep)) {
		old = first.revision
	}
	target := max(min(old, revision-h.min), revision-h.max)
	if target-h.done < h.worth {
		return 0
	}
	h.done = target
	return target
}

// compactLoop forgets old revisions now and then. When nobody writes there is nothing to forget, and it writes nothing.
func (s *Store) compactLoop() {
	h := &history{keep: s.cfg.History, min: s.cfg.HistoryMin, max: s.cfg.HistoryMax, worth: 1_000}
	ticker := time.NewTicker(max(h.keep/5, time.Second))
	defer ticker.Stop()
	for {
		s.compactOnce(h)
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Store) compactOnce(h *history) {
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	revision, err := s.Revision(ctx)
	if err != nil {
		return // it is asked again at the next tick, and whoever reads has the error
	}
	at := h.next(time.Now(), revision)
	if at == 0 {
		return
	}
	if err := s.Compact(ctx, at); err != nil && !errors.Is(err, store.ErrCompacted) && ctx.Err() == nil {
		s.log.Warn("old revisions could not be dropped", zap.Int64("revision", at), zap.Error(err))
	}
}
