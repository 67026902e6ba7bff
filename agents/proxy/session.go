package proxy

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
)

const (
	newsBuffer    = 16
	minReconnect  = 50 * time.Millisecond
	maxReconnect  = 5 * time.Second
	stableSession = 10 * time.Second
)

// news is what the following goroutine tells the loop: a new session, or a message of the current one.
type news struct {
	session *session
	message *nodev1.StreamResponse // nil: the session begins
}

// session is one stream. Acknowledgements are handed to a goroutine of its own and merged while it is busy, so that a
// slow stream never holds up the dataplane.
type session struct {
	stream nodev1.AssignmentService_StreamClient
	wake   chan struct{}

	mu       sync.Mutex
	revision int64
	services map[string]*nodev1.ProgrammedService
}

// follow keeps a stream open until ctx ends.
func (p *Proxy) follow(ctx context.Context, out chan<- news) {
	backoff := minReconnect
	for ctx.Err() == nil {
		started := time.Now()
		err := p.followOnce(ctx, out)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > stableSession {
			backoff = minReconnect
		}
		p.log.Info("assignment stream ended, connecting again", zap.Error(err), zap.Duration("after", backoff))
		select {
		case <-time.After(backoff/2 + rand.N(backoff)):
		case <-ctx.Done():
		}
		backoff = min(backoff*2, maxReconnect)
	}
}

func (p *Proxy) followOnce(ctx context.Context, out chan<- news) error {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := nodev1.NewAssignmentServiceClient(p.config.Conn).Stream(ctx)
	if err != nil {
		cancel()
		return err
	}
	hello := &nodev1.Hello{Node: p.config.NodeName, Scope: nodev1.Scope_SCOPE_SERVICES}
	if err := stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Hello{Hello: hello}}); err != nil {
		cancel()
		return err
	}
	s := &session{stream: stream, wake: make(chan struct{}, 1), services: map[string]*nodev1.ProgrammedService{}}
	var sending sync.WaitGroup
	sending.Go(func() { s.send(ctx) })
	defer sending.Wait()
	defer cancel()
	if !tell(ctx, out, news{session: s}) {
		return ctx.Err()
	}
	for {
		msg, err := stream.Recv()
		if err != nil {
			return err
		}
		if !tell(ctx, out, news{s, msg}) {
			return ctx.Err()
		}
	}
}

func tell(ctx context.Context, out chan<- news, n news) bool {
	select {
	case out <- n:
		return true
	case <-ctx.Done():
		return false
	}
}

// acknowledge queues what is programmed. Only the newest of each Service is sent.
func (s *session) acknowledge(revision int64, services []*nodev1.ProgrammedService) {
	s.mu.Lock()
	s.revision = revision
	for _, svc := range services {
		s.services[svc.Namespace+"/"+svc.Name] = svc
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) send(ctx context.Context) {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		ack := &nodev1.Acknowledgement{Revision: s.revision}
		for _, svc := range s.services {
			ack.Services = append(ack.Services, svc)
		}
		clear(s.services)
		s.mu.Unlock()
		if s.stream.Send(&nodev1.StreamRequest{Message: &nodev1.StreamRequest_Ack{Ack: ack}}) != nil {
			return // the receiving side sees why
		}
	}
}
