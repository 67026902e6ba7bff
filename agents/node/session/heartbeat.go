package session

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/turns"
)

// heart beats over one stream as long as that lives.
type heart struct {
	rpc    nodev1.HeartbeatServiceClient
	node   string
	log    *zap.Logger
	task   turns.Task
	stream nodev1.HeartbeatService_HeartbeatClient // nil while disconnected
	end    context.CancelFunc                      // of the stream
	wait   time.Duration                           // after the next failure
}

// Heartbeats tells node health that the node lives, as often as it wants to hear it, while the group lasts.
func Heartbeats(group *turns.Group, conn grpc.ClientConnInterface, node string, log *zap.Logger) {
	h := &heart{rpc: nodev1.NewHeartbeatServiceClient(conn), node: node, log: log.Named("heartbeats"), wait: firstPause}
	h.task.Init(group, h.turn)
	h.task.Start()
}

func (h *heart) turn(ctx context.Context) time.Time {
	every, err := h.beat(ctx)
	if err == nil {
		h.wait = firstPause
		return time.Now().Add(max(every, time.Second))
	}
	h.end()
	h.stream = nil
	disconnected(h.log, err, h.wait)
	next := time.Now().Add(h.wait/2 + rand.N(h.wait))
	h.wait = min(2*h.wait, longPause)
	return next
}

// beat returns how long until the next beat is wanted.
func (h *heart) beat(ctx context.Context) (time.Duration, error) {
	if h.stream == nil {
		ctx, h.end = context.WithCancel(ctx)
		var err error
		if h.stream, err = h.rpc.Heartbeat(ctx); err != nil {
			return 0, err
		}
	}
	if err := h.stream.Send(&nodev1.HeartbeatRequest{Node: h.node}); err != nil {
		return 0, err
	}
	answer, err := h.stream.Recv()
	return time.Duration(answer.GetIntervalMs()) * time.Millisecond, err
}
