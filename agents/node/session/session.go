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
	"google.golang.org/grpc"
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

// Heartbeats tells node health that the node lives, as often as it wants to hear it, until ctx ends.
func Heartbeats(ctx context.Context, conn grpc.ClientConnInterface, node string, log *zap.Logger) error {
	rpc := nodev1.NewHeartbeatServiceClient(conn)
	return reconnecting(ctx, log.Named("heartbeats"), func(ctx context.Context, connected func()) error {
		stream, err := rpc.Heartbeat(ctx)
		if err != nil {
			return err
		}
		for {
			if err := stream.Send(&nodev1.HeartbeatRequest{Node: node}); err != nil {
				return err
			}
			answer, err := stream.Recv()
			if err != nil {
				return err
			}
			connected()
			if !pause(ctx, max(time.Duration(answer.GetIntervalMs())*time.Millisecond, time.Second)) {
				return ctx.Err()
			}
		}
	})
}

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
		if wait > time.Second {
			log.Warn("disconnected", zap.Error(err), zap.Duration("retry", wait))
		} else {
			log.Debug("disconnected", zap.Error(err), zap.Duration("retry", wait))
		}
		if !pause(ctx, wait/2+rand.N(wait)) {
			return nil
		}
		wait = min(wait*2, longPause)
	}
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
