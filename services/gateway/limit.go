package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// queueTime is how long a request waits for its turn before it is refused.
	queueTime = 2 * time.Second
	// queueFactor bounds the requests that wait, as a multiple of those that may run.
	queueFactor = 10
)

// limiter bounds how many requests run at once. A short burst waits; what exceeds that is refused, so that an overload
// costs neither memory nor the requests that are already running.
type limiter struct {
	slots   chan struct{}
	waiting atomic.Int64
}

func newLimiter(n int) *limiter { return &limiter{slots: make(chan struct{}, n)} }

// acquire takes a slot; false means that the server is too busy. The caller gives it back with release.
func (l *limiter) acquire(ctx context.Context) bool {
	select {
	case l.slots <- struct{}{}:
		return true
	default:
	}
	if l.waiting.Add(1) > int64(queueFactor*cap(l.slots)) {
		l.waiting.Add(-1)
		return false
	}
	defer l.waiting.Add(-1)
	timeout := time.NewTimer(queueTime)
	defer timeout.Stop()
	select {
	case l.slots <- struct{}{}:
		return true
	case <-timeout.C:
	case <-ctx.Done():
	}
	return false
}

func (l *limiter) release() { <-l.slots }

// inflight counts running requests, so that a shutdown can wait for them. The zero value is open and ready.
type inflight struct {
	mu     sync.Mutex
	n      int
	closed chan struct{}
}

// enter counts a request in; false after close.
func (f *inflight) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed != nil {
		return false
	}
	f.n++
	return true
}

func (f *inflight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 && f.closed != nil {
		close(f.closed)
	}
}

// close lets nobody in any more; the channel is closed when everybody has left. It is called once.
func (f *inflight) close() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = make(chan struct{})
	if f.n == 0 {
		close(f.closed)
	}
	return f.closed
}
