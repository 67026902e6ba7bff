package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	"karve.dev/karve/internal/fair"
)

const (
	// queueTime is how long a request waits for its turn before it is refused.
	queueTime = 2 * time.Second
	// queueFactor bounds the requests that wait, as a multiple of those that may run.
	queueFactor = 10
)

// newLimiter bounds how many requests run at once, shared fairly among clients. A short burst waits; what exceeds that is
// refused, so that an overload costs neither memory nor the requests that are already running.
func newLimiter(n int) *fair.Limiter {
	return fair.New(fair.Config{Running: n, Waiting: queueFactor * n, Patience: queueTime})
}

// clientOf tells clients apart: by a token that the API has taken before, by a verified certificate's user, or else by where
// they come from. Who makes tokens up must not look like many clients.
func clientOf(ctx context.Context, r *http.Request) string {
	md, _ := metadata.FromOutgoingContext(ctx)
	token, user := md[keyAuthorization], md[keyRemoteUser]
	switch {
	case len(token) > 0 && bearingOf(r).takenBefore():
		return token[0]
	case len(token) == 0 && len(user) > 0:
		return user[0]
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// bearingOf returns the token of the connection's latest request, nil for none.
func bearingOf(r *http.Request) *bearing {
	if p, ok := r.Context().Value(peerKey{}).(*peer); ok {
		return p.latest.Load()
	}
	return nil
}

func (b *bearing) takenBefore() bool { return b != nil && b.proven.Load() }

// taken notes that the API has answered a request with the token.
func (b *bearing) taken() {
	if b != nil && !b.proven.Load() {
		b.proven.Store(true)
	}
}

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
