// Package session is a node's conversation with the control plane: the stream of assignments, with acknowledgements,
// and the heartbeat. Both reconnect by themselves; while they are away the node goes on with what it knows, and one that
// starts meanwhile with what it was told last.
package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

// Handler takes what is assigned to the node. Its methods are called from one goroutine and must not block.
type Handler interface {
	// SetPod takes a pod's newest specification; RemovePod that it is no longer this node's.
	SetPod(*corev1.Pod)
	RemovePod(types.UID)
	// Drained tells that no connected node sends new connections to a terminating pod any more.
	Drained(types.UID)
	// Synced tells that SetPod has been called for every pod there is; known tells which.
	Synced(known func(types.UID) bool)
	// ObjectChanged tells that a ConfigMap or Secret of a namespace has changed.
	ObjectChanged(namespace string)
	// ClaimChanged tells that a claim of a namespace, or its volume, has changed.
	ClaimChanged(namespace string)
	// VolumeChanged tells that a volume has changed; the node may keep it.
	VolumeChanged()
	// SetNode takes the node's own object.
	SetNode(*corev1.Node)
}

// Reconnection backs off between these.
const (
	firstPause = 50 * time.Millisecond
	longPause  = 5 * time.Second
)

// reconnecting runs talk again and again, with pauses that grow until it has connected.
func reconnecting(ctx context.Context, log *zap.Logger, talk func(ctx context.Context, connected func()) error) error {
	wait := firstPause
	for {
		talkCtx, cancel := context.WithCancel(ctx)
		err := talk(talkCtx, func() { wait = firstPause })
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		disconnected(log, err, wait)
		if !pause(ctx, wait/2+rand.N(wait)) {
			return nil
		}
		wait = min(wait*2, longPause)
	}
}

// disconnected complains once that has lasted for a while.
func disconnected(log *zap.Logger, err error, wait time.Duration) {
	level := zap.DebugLevel
	if wait > time.Second {
		level = zap.WarnLevel
	}
	log.Log(level, "disconnected", zap.Error(err), zap.Duration("retry", wait))
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

var errUnknownChange = errors.New("a change that is neither set nor remove")

func decodeError(c *nodev1.Change, err error) error {
	return fmt.Errorf("assignment of %s %s/%s: %w", c.GetKind(), c.GetNamespace(), c.GetName(), err)
}
