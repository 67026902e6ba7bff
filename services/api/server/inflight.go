package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/fair"
	"karve.dev/karve/internal/identity"
)

// Bounds of the unary calls of everybody but the cluster's own parts.
const (
	maxInFlight = 400
	maxQueued   = 2000
	queueWait   = 5 * time.Second
)

// limiter keeps a flood of calls from taking all memory, and one client's flood from stopping the others: so many run, so
// many wait for a while, the rest is refused.
type limiter struct{ *fair.Limiter }

func newLimiter(running, waiting int) *limiter {
	return &limiter{fair.New(fair.Config{Running: running, Waiting: waiting, Patience: queueWait})}
}

// enter waits for a place; the call leaves it with the returned function.
func (l *limiter) enter(ctx context.Context, user identity.User) (leave func(), err error) {
	if l == nil || ownPart(user) {
		return func() {}, nil
	}
	leave, err = l.Enter(ctx, user.Name)
	if errors.Is(err, fair.ErrBusy) {
		return nil, errBusy()
	}
	return leave, err
}

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
