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
	Run(ctx context.Context, method string, req any, onHeader func(metadata.MD), onMessage func(any) error) error
}

var _ Direct = (*inprocConn)(nil)

// Run implements Direct.
func (c *inprocConn) Run(ctx context.Context, method string, req any, onHeader func(metadata.MD), onMessage func(any) error) error {
	svc, name, err := c.lookup(method)
	if err != nil {
		return err
	}
	for i := range svc.desc.Streams {
		d := &svc.desc.Streams[i]
		if d.StreamName != name || d.ClientStreams {
			continue
		}
		info := &grpc.StreamServerInfo{FullMethod: method, IsServerStream: true}
		ss := &directStream{ctx: c.context(ctx), req: req, onHeader: onHeader, onMessage: onMessage}
		return toStatus(c.server.runStream(svc, d, info, ss))
	}
	return status.Errorf(codes.Unimplemented, "unknown server-streaming method %q", method)
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
