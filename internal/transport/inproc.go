package transport

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"karve.dev/karve/internal/identity"
)

// streamBuffer bounds the messages that wait in one direction of an in-process stream.
const streamBuffer = 16

// inprocConn is a client connection that calls the server's handlers directly. Messages are handed over by
// reference, field by field: neither side may change a message's bytes after sending or receiving it.
type inprocConn struct {
	server *Server
	peer   identity.User
}

var _ grpc.ClientConnInterface = (*inprocConn)(nil)

// serverContext keeps a caller's deadline and cancellation but none of its values, as a network would.
type serverContext struct{ context.Context }

// Value hides all values but what package context looks for itself, by a key that is a pointer to an int: it tells that a
// context below can join the caller's own. Without it, each would start a goroutine that waits for the caller's end.
func (c serverContext) Value(key any) any {
	if _, ok := key.(*int); ok {
		return c.Context.Value(key)
	}
	return nil
}

func (c *inprocConn) context(ctx context.Context) context.Context {
	out, _ := metadata.FromOutgoingContext(ctx)
	ctx = metadata.NewIncomingContext(serverContext{ctx}, out)
	return identity.WithPeer(ctx, c.peer)
}

// Invoke runs a unary method in the caller's goroutine.
func (c *inprocConn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	svc, name, err := c.server.lookup(method)
	if err != nil {
		return err
	}
	for i := range svc.desc.Methods {
		m := &svc.desc.Methods[i]
		if m.MethodName != name {
			continue
		}
		decode := func(into any) error { return handOver(into, args) }
		answer, err := m.Handler(svc.impl, c.context(ctx), decode, c.server.unary)
		if err != nil {
			return toStatus(err)
		}
		return handOver(reply, answer)
	}
	return status.Errorf(codes.Unimplemented, "unknown method %q", method)
}

// NewStream starts a streaming method in a goroutine that ends with the handler.
func (c *inprocConn) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	svc, name, err := c.server.lookup(method)
	if err != nil {
		return nil, err
	}
	for i := range svc.desc.Streams {
		d := &svc.desc.Streams[i]
		if d.StreamName == name {
			return c.startStream(ctx, svc, d, method), nil
		}
	}
	return nil, status.Errorf(codes.Unimplemented, "unknown method %q", method)
}

func (c *inprocConn) startStream(ctx context.Context, svc *service, d *grpc.StreamDesc, method string) *clientStream {
	p := &pipe{
		toServer: make(chan any, streamBuffer),
		toClient: make(chan any, streamBuffer),
		header:   make(chan struct{}),
		done:     make(chan struct{}),
	}
	ctx, p.cancel = context.WithCancel(ctx)
	info := &grpc.StreamServerInfo{FullMethod: method, IsClientStream: d.ClientStreams, IsServerStream: d.ServerStreams}
	ss := &serverStream{pipe: p, ctx: c.context(ctx)}
	c.server.inflight.Add(1)
	go func() {
		defer c.server.inflight.Done()
		defer p.cancel()
		p.finish(c.server.runStream(svc, d, info, ss))
	}()
	return &clientStream{pipe: p, ctx: ctx}
}

// pipe is what both ends of a stream share. toServer is closed by the client, done by the server after err is set.
type pipe struct {
	toServer, toClient chan any
	done               chan struct{}
	cancel             context.CancelFunc
	err                error

	mu        sync.Mutex
	headerMD  metadata.MD
	trailerMD metadata.MD
	header    chan struct{}
	closeSend sync.Once
	openHead  sync.Once
}

func (p *pipe) sendHeader() { p.openHead.Do(func() { close(p.header) }) }

func (p *pipe) finish(err error) {
	p.err = toStatus(err)
	p.sendHeader()
	close(p.done)
}

type clientStream struct {
	*pipe
	ctx context.Context
}

func (s *clientStream) Context() context.Context { return s.ctx }

func (s *clientStream) Header() (metadata.MD, error) {
	select {
	case <-s.header:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.headerMD, nil
	case <-s.ctx.Done():
	}
	// A handler that has ended cancels the context, too: what it left counts.
	select {
	case <-s.header:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.headerMD, nil
	default:
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s *clientStream) Trailer() metadata.MD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trailerMD
}

func (s *clientStream) CloseSend() error {
	s.closeSend.Do(func() { close(s.toServer) })
	return nil
}

func (s *clientStream) SendMsg(m any) error {
	select {
	case s.toServer <- m:
		return nil
	case <-s.done:
		return io.EOF
	case <-s.ctx.Done():
	}
	select {
	case <-s.done:
		return io.EOF
	default:
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s *clientStream) RecvMsg(m any) error {
	select {
	case got := <-s.toClient:
		return handOver(m, got)
	case <-s.done:
	}
	// The handler has ended: first what it sent, then its verdict.
	select {
	case got := <-s.toClient:
		return handOver(m, got)
	default:
	}
	if s.err != nil {
		return s.err
	}
	return io.EOF
}

type serverStream struct {
	*pipe
	ctx context.Context
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) SetHeader(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headerMD = metadata.Join(s.headerMD, md)
	return nil
}

func (s *serverStream) SendHeader(md metadata.MD) error {
	err := s.SetHeader(md)
	s.sendHeader()
	return err
}

func (s *serverStream) SetTrailer(md metadata.MD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trailerMD = metadata.Join(s.trailerMD, md)
}

func (s *serverStream) SendMsg(m any) error {
	s.sendHeader()
	select {
	case s.toClient <- m:
		return nil
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s *serverStream) RecvMsg(m any) error {
	select {
	case got, ok := <-s.toServer:
		if !ok {
			return io.EOF
		}
		return handOver(m, got)
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

// handOver gives dst the fields of src without copying what they hold. Messages of one generated type, which is what
// both ends of a method have, are copied as the plain structs that they are.
func handOver(dst, src any) error {
	to, ok1 := dst.(proto.Message)
	from, ok2 := src.(proto.Message)
	if !ok1 || !ok2 {
		return fmt.Errorf("in-process call with %T and %T: both must be protobuf messages", dst, src)
	}
	t, f := reflect.ValueOf(dst), reflect.ValueOf(src)
	if t.Type() == f.Type() && t.Kind() == reflect.Pointer && !t.IsNil() && !f.IsNil() {
		t.Elem().Set(f.Elem())
		return nil
	}
	proto.Reset(to)
	into := to.ProtoReflect()
	from.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		into.Set(fd, v)
		return true
	})
	return nil
}

func toStatus(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.FromContextError(err).Err()
}
