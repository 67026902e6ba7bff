package session

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

// patience is how long the control plane has to say what there is, before a node that has just started goes by what it
// was told last. A moment too early would begin pods again that have been deleted.
const patience = 3 * time.Second

// assignments is the conversation about what the node should run.
type assignments struct {
	rpc     nodev1.AssignmentServiceClient
	node    string
	objects *Objects
	handler Handler
	log     *zap.Logger
	begun   time.Time
	// patience cuts off a control plane that says nothing; nil once the node knows what to run.
	patience *time.Timer
}

// Assignments keeps the assignment stream open until ctx ends.
func Assignments(ctx context.Context, conn grpc.ClientConnInterface, node string, objects *Objects, handler Handler, log *zap.Logger) error {
	a := &assignments{
		rpc: nodev1.NewAssignmentServiceClient(conn), node: node, objects: objects, handler: handler, log: log.Named("assignments"),
		begun: time.Now(),
	}
	informed := false
	return reconnecting(ctx, a.log, func(ctx context.Context, connected func()) error {
		if informed {
			return a.talk(ctx, connected)
		}
		short, cancel := context.WithCancel(ctx)
		defer cancel()
		a.patience = time.AfterFunc(time.Until(a.begun.Add(patience)), cancel)
		err := a.talk(short, connected)
		informed = a.patience == nil
		if over := time.Since(a.begun) >= patience; over && !informed && ctx.Err() == nil {
			informed = true
			a.recall()
		}
		a.endPatience()
		return err
	})
}

func (a *assignments) endPatience() {
	if a.patience != nil {
		a.patience.Stop()
		a.patience = nil
	}
}

// talk takes what the control plane sends, until the stream ends.
func (a *assignments) talk(ctx context.Context, connected func()) error {
	stream, err := a.rpc.Stream(ctx)
	if err != nil {
		return err
	}
	hello := &nodev1.Hello{Node: a.node, Scope: nodev1.Scope_SCOPE_PODS}
	if err := stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Hello{Hello: hello}}); err != nil {
		return err
	}
	a.objects.begin()
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		connected()
		if err := a.objects.apply(message, a.handler); err != nil {
			return err
		}
		if message.GetSnapshotComplete() {
			a.endPatience()
		}
		ack := &nodev1.Acknowledgement{Revision: message.GetRevision()}
		if err := stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Ack{Ack: ack}}); err != nil {
			return err
		}
	}
}

// recall takes what is kept of earlier conversations. It is no snapshot: what it does not name may exist.
func (a *assignments) recall() {
	kept := a.objects.kept.Load()
	if len(kept) == 0 {
		return
	}
	slices.SortStableFunc(kept, func(x, y *nodev1.Change) int { return order(x) - order(y) })
	a.log.Warn("the control plane is away: going by what it has said before", zap.Int("objects", len(kept)))
	for _, c := range kept {
		if err := a.objects.apply(&nodev1.StreamResponse{Changes: []*nodev1.Change{c}}, a.handler); err != nil {
			a.log.Warn("what is kept cannot be read", zap.Error(err))
		}
	}
}

// order puts pods behind what they use.
func order(c *nodev1.Change) int {
	if c.GetKind() == "Pod" {
		return 1
	}
	return 0
}
