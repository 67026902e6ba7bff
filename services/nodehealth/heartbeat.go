package nodehealth

import (
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/identity"
)

// Heartbeat takes the beats of one node and answers each with when to send the next. The caller must be that node.
func (s *Service) Heartbeat(stream grpc.BidiStreamingServer[nodev1.HeartbeatRequest, nodev1.HeartbeatResponse]) error {
	peer, _ := identity.Peer(stream.Context())
	node := ""
	defer func() { s.beats.streaming(node, -1) }()
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if peer.Name != identity.NodePrefix+req.GetNode() {
			return status.Errorf(codes.PermissionDenied, "%q may not send heartbeats for node %q: a node speaks for itself only", peer.Name, req.GetNode())
		}
		if node == "" {
			node = req.GetNode()
			s.beats.streaming(node, 1)
			s.health.Enqueue(nodeKey(node))
		}
		if s.beats.seen(node, time.Now()) {
			s.health.Enqueue(nodeKey(node))
		}
		if err := stream.Send(&nodev1.HeartbeatResponse{IntervalMs: s.cfg.Beat.Milliseconds()}); err != nil {
			return err
		}
	}
}

// beats remembers when each node was last heard of. It is safe for concurrent use.
type beats struct {
	mu      sync.Mutex
	started time.Time
	nodes   map[string]*beat
}

type beat struct {
	last    time.Time
	streams int
	// silent is set once the node was found silent; the next beat is news then.
	silent bool
}

func newBeats() *beats { return &beats{started: time.Now(), nodes: map[string]*beat{}} }

func (b *beats) get(node string) *beat {
	found := b.nodes[node]
	if found == nil {
		// A node that was there before this process gets the full grace from now on.
		found = &beat{last: time.Now()}
		b.nodes[node] = found
	}
	return found
}

// seen records a sign of life; it tells whether the node had been silent.
func (b *beats) seen(node string, at time.Time) (news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.get(node)
	news, n.last, n.silent = n.silent, at, false
	return news
}

// streaming counts a node's open heartbeat streams.
func (b *beats) streaming(node string, delta int) {
	if node == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.get(node).streams += delta
}

// read returns when the node was last heard of and whether its stream is open.
func (b *beats) read(node string) (last time.Time, streaming bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.get(node)
	return n.last, n.streams > 0
}

func (b *beats) markSilent(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.get(node).silent = true
}

// forget drops a deleted node unless it still streams.
func (b *beats) forget(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.nodes[node]; n != nil && n.streams == 0 {
		delete(b.nodes, node)
	}
}
