package transport

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Direct is what a connection inside one process can do besides: it runs a server-streaming method in the caller's
// goroutine. A client of thousands of quiet streams needs half the goroutines, and a message no queue and no wake-up.
type Direct interface {
	// Run calls a method with its request and returns when the method has ended, with its error. OnHeader, which may be
	// nil, and onMessage are called one at a time by whichever goroutine of the server sends; an error of onMessage is
	// what the server's Send returns. The request and the messages are handed over by reference: nobody changes them.
	//
	// With wake, a method that can returns at once and leaves a source, which the caller asks for messages from then on:
	// such streams cost no goroutine at all. Wake is called, with the server's locks held, whenever the source may have
	// something. The caller closes the source, and lets ctx live as long.
	Run(ctx context.Context, method string, req any, onHeader func(metadata.MD), onMessage func(any) error, wake func()) (Source, error)
}

// Source is what is left of a call to a server-streaming method whose handler has returned.
type Source interface {
	// Poll returns the next message, nil when there is none now, and io.EOF when the call has ended. Behind tells that there
	// may be another already. What a message holds is good until the next Poll.
	Poll() (m any, behind bool, err error)
	// Close ends the call.
	Close()
}

// Pulled is a call that may leave a source, as its handler sees it.
type Pulled struct {
	// Wake tells that the source may have something.
	Wake func()
	left Source
}

// Leave makes a source answer for the handler, which returns nil and has sent its headers.
func (p *Pulled) Leave(s Source) { p.left = s }

type pulledKey struct{}

// PulledCall returns the call whose handler has this context if it may leave a source, or nil.
func PulledCall(ctx context.Context) *Pulled {
	p, _ := ctx.Value(pulledKey{}).(*Pulled)
	return p
}

var _ Direct = (*inprocConn)(nil)

// Run implements Direct.
func (c *inprocConn) Run(ctx context.Context, method string, req any, onHeader func(metadata.MD), onMessage func(any) error, wake func()) (Source, error) {
	svc, name, err := c.server.lookup(method)
	if err != nil {
		return nil, err
	}
	ctx = c.context(ctx)
	call := &Pulled{Wake: wake}
	if wake != nil {
		ctx = context.WithValue(ctx, pulledKey{}, call)
	}
	for i := range svc.desc.Streams {
		d := &svc.desc.Streams[i]
		if d.StreamName != name || d.ClientStreams {
			continue
		}
		info := &grpc.StreamServerInfo{FullMethod: method, IsServerStream: true}
		ss := &directStream{ctx: ctx, req: req, onHeader: onHeader, onMessage: onMessage}
		err := c.server.runStream(svc, d, info, ss)
		return call.left, toStatus(err)
	}
	return nil, status.Errorf(codes.Unimplemented, "unknown server-streaming method %q", method)
}

// directStream is the server's end of a direct call.
type directStream struct {
	ctx       context.Context
	req       any
	onHeader  func(metadata.MD)
	onMessage func(any) error
	header    metadata.MD
	opened    bool
}

func (s *directStream) Context() context.Context { return s.ctx }

func (s *directStream) SetHeader(md metadata.MD) error {
	s.header = metadata.Join(s.header, md)
	return nil
}

func (s *directStream) SendHeader(md metadata.MD) error {
	if s.opened {
		return status.Error(codes.Internal, "headers are sent once")
	}
	s.opened = true
	if len(s.header) > 0 {
		md = metadata.Join(s.header, md)
	}
	if s.onHeader != nil {
		s.onHeader(md)
	}
	return nil
}

func (s *directStream) SetTrailer(metadata.MD) {}

func (s *directStream) SendMsg(m any) error {
	if !s.opened {
		if err := s.SendHeader(nil); err != nil {
			return err
		}
	}
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return s.onMessage(m)
}

func (s *directStream) RecvMsg(m any) error {
	if s.req == nil {
		return io.EOF
	}
	req := s.req
	s.req = nil
	return handOver(m, req)
}
