package audit

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// maxPending bounds what waits to be written. A request whose record finds no room waits: what happened is written down,
// or it does not go on happening.
const maxPending = 16 << 20

// complainEvery spaces the complaints about a file that cannot be written.
const complainEvery = 10 * time.Second

// sink collects lines and writes them in order, many at once when they come fast.
type sink struct {
	out          io.WriteCloser
	log          *zap.Logger
	events, lost prometheus.Counter

	mu      sync.Mutex
	pending []byte
	// direct is set when nobody writes any more what is pending: lines are then written at once.
	direct bool
	// wake tells the writer that something is pending; room is closed when it has taken that.
	wake chan struct{}
	room chan struct{}

	// complained belongs to whoever writes, under writing.
	writing    sync.Mutex
	complained time.Time
}

func newSink(out io.WriteCloser, log *zap.Logger) *sink {
	return &sink{
		out: out, log: log, wake: make(chan struct{}, 1), room: make(chan struct{}),
		events: prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_audit_event_total", Help: "Counter of audit events generated and sent to the audit backend."}),
		lost:   prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_audit_error_total", Help: "Counter of audit events that failed to be audited properly."}),
	}
}

// add queues a line.
func (s *sink) add(line []byte) {
	s.events.Inc()
	for deadline := time.Now().Add(patience); ; {
		s.mu.Lock()
		if s.direct {
			s.mu.Unlock()
			s.write(line)
			return
		}
		if len(s.pending) == 0 || len(s.pending)+len(line) <= maxPending {
			s.pending = append(s.pending, line...)
			s.mu.Unlock()
			select {
			case s.wake <- struct{}{}:
			default:
			}
			return
		}
		room := s.room
		s.mu.Unlock()
		if !waitUntil(room, deadline) {
			s.lost.Inc()
			return
		}
	}
}

func waitUntil(ch <-chan struct{}, deadline time.Time) bool {
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
		return false
	}
}

// run writes until ctx ends, and then what is left.
func (s *sink) run(ctx context.Context) error {
	for {
		select {
		case <-s.wake:
			s.write(s.take(false))
		case <-ctx.Done():
			s.write(s.take(true))
			return nil
		}
	}
}

func (s *sink) take(last bool) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.pending
	s.pending = nil
	s.direct = last
	close(s.room)
	s.room = make(chan struct{})
	return out
}

func (s *sink) write(lines []byte) {
	if len(lines) == 0 {
		return
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.out.Write(lines); err != nil {
		s.lost.Inc()
		if time.Since(s.complained) > complainEvery {
			s.complained = time.Now()
			s.log.Error("the audit log cannot be written", zap.Error(err))
		}
	}
}
