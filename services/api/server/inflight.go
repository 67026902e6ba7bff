package server

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/identity"
)

// Bounds of the unary calls of everybody but the cluster's own parts.
const (
	maxInFlight = 400
	maxQueued   = 2000
	queueWait   = 5 * time.Second
)

// limiter keeps a flood of calls from taking all memory: so many run, so many wait for a while, the rest is refused.
type limiter struct {
	slots  chan struct{}
	queued atomic.Int64
}

func newLimiter(n int) *limiter { return &limiter{slots: make(chan struct{}, n)} }

// enter waits for a slot; the call leaves it with the returned function.
func (l *limiter) enter(ctx context.Context, user identity.User) (leave func(), err error) {
	if l == nil || ownPart(user) {
		return func() {}, nil
	}
	select {
	case l.slots <- struct{}{}:
		return l.leave, nil
	default:
	}
	if l.queued.Add(1) > maxQueued {
		l.queued.Add(-1)
		return nil, errBusy()
	}
	defer l.queued.Add(-1)
	patience := time.NewTimer(queueWait)
	defer patience.Stop()
	select {
	case l.slots <- struct{}{}:
		return l.leave, nil
	case <-patience.C:
		return nil, errBusy()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *limiter) leave() { <-l.slots }

func errBusy() error {
	return apierrors.NewTooManyRequests("the API service is overloaded, please try again later", 1)
}

// ownPart reports whether a caller is one of the cluster's own processes, or an administrator: a flood from others must
// not keep them from working.
func ownPart(u identity.User) bool {
	if slices.Contains(u.Groups, identity.GroupMasters) {
		return true
	}
	return strings.HasPrefix(u.Name, "system:") && u.Name != identity.UserAnonymous && !strings.HasPrefix(u.Name, "system:serviceaccount:")
}
