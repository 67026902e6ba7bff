package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"karve.dev/karve/internal/h2"
	"karve.dev/karve/internal/identity"
)

type bytesValue = wrapperspb.BytesValue

// say is a service by hand. Unary answers with what it is sent; Echo does so for every message, and says at the end how
// many there were; Tell leaves a source.
type say struct {
	unary func(ctx context.Context, in *bytesValue) (*bytesValue, error)
	told  *told
}

func (s *say) desc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "test.Say", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := &bytesValue{}
			if err := decode(in); err != nil {
				return nil, err
			}
			return s.unary(ctx, in)
		}}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Echo", ServerStreams: true, ClientStreams: true, Handler: func(_ any, ss grpc.ServerStream) error { return echo(ss) }},
			{StreamName: "Tell", ServerStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
				if err := ss.RecvMsg(&bytesValue{}); err != nil {
					return err
				}
				call := PulledCall(ss.Context())
				s.told.wake = call.Wake
				call.Leave(s.told)
				return ss.SendHeader(nil)
			}},
		},
	}
}

func echo(ss grpc.ServerStream) error {
	for n := 0; ; n++ {
		in := &bytesValue{}
		switch err := ss.RecvMsg(in); {
		case errors.Is(err, io.EOF):
			ss.SetTrailer(metadata.Pairs("count", fmt.Sprint(n), "raw-bin", "\x00\xff"))
			return nil
		case err != nil:
			return err
		}
		if err := ss.SendMsg(in); err != nil {
			return err
		}
	}
}

// told is a source of so many messages; each is said once it has been allowed.
type told struct {
	wake    func()
	allowed atomic.Int64
	said    int64
	most    int64
	closed  atomic.Bool
	panics  atomic.Bool
}

func (s *told) Poll() (any, bool, error) {
	switch {
	case s.panics.Load():
		panic("a source of a test")
	case s.said == s.most:
		return nil, false, status.Error(codes.ResourceExhausted, "that is all")
	case s.said == s.allowed.Load():
		return nil, false, nil
	}
	s.said++
	return wrapperspb.Bytes(bytes.Repeat([]byte{byte(s.said)}, int(s.said*7919%50_000))), false, nil
}

func (s *told) Close() { s.closed.Store(true) }

// overTLS serves s and returns a connection to it.
func overTLS(t *testing.T, s *say) *grpc.ClientConn {
	ca, err := identity.LoadOrCreate(t.TempDir(), identity.Options{Name: "test"})
	require.NoError(t, err)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := NewServer(nil, nil)
	server.RegisterService(s.desc(), s)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, lis, ca.ServerTLS(identity.Spec{CommonName: "s", DNSNames: []string{"s"}}))
	}()
	var config *tls.Config = ca.ClientTLS(identity.User{Name: "jane"})
	config.ServerName = "s"
	conn, err := Dial(lis.Addr().String(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		conn.Close()
		stop()
		require.NoError(t, <-ended)
	})
	return conn
}

func TestCallsCrossTheWire(t *testing.T) {
	s := &say{}
	conn := overTLS(t, s)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "k", "1", "k", "2", "x-bin", "\x00\x01")
	call := func(ctx context.Context, in []byte, opts ...grpc.CallOption) ([]byte, error) {
		out := &bytesValue{}
		err := conn.Invoke(ctx, "/test.Say/Unary", wrapperspb.Bytes(in), out, opts...)
		return out.Value, err
	}
	s.unary = func(ctx context.Context, in *bytesValue) (*bytesValue, error) {
		who, _ := identity.Peer(ctx)
		md, _ := metadata.FromIncomingContext(ctx)
		deadline, ok := ctx.Deadline()
		return wrapperspb.Bytes(fmt.Appendf(nil, "%s %s %q %q %v", in.Value, who.Name, md["k"], md["x-bin"], ok && time.Until(deadline) > time.Hour)), nil
	}
	far, cancel := context.WithTimeout(ctx, 2*time.Hour)
	defer cancel()
	for _, opts := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
		out, err := call(far, []byte("hello"), opts...)
		require.NoError(t, err)
		require.Equal(t, `hello jane ["1" "2"] ["\x00\x01"] true`, string(out))
	}

	s.unary = func(_ context.Context, in *bytesValue) (*bytesValue, error) { return in, nil }
	for _, size := range []int{0, 1, 16 << 10, 1 << 20, 15 << 20} {
		out, err := call(ctx, bytes.Repeat([]byte("x"), size))
		require.NoError(t, err)
		require.Len(t, out, size)
	}
	_, err := call(ctx, make([]byte, maxRequestBytes+1))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))

	long := strings.Repeat("no “it” here: 100 %\n", 2000)
	s.unary = func(context.Context, *bytesValue) (*bytesValue, error) {
		st, err := status.New(codes.NotFound, long).WithDetails(durationpb.New(time.Second))
		require.NoError(t, err)
		return nil, st.Err()
	}
	_, err = call(ctx, nil)
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Equal(t, long, status.Convert(err).Message())
	require.True(t, proto.Equal(durationpb.New(time.Second), status.Convert(err).Details()[0].(proto.Message)))

	require.Equal(t, codes.Unimplemented, status.Code(conn.Invoke(ctx, "/test.Say/Nothing", &bytesValue{}, &bytesValue{})))
	require.Equal(t, codes.Unimplemented, status.Code(conn.Invoke(ctx, "/test.Nobody/Unary", &bytesValue{}, &bytesValue{})))
}

// TestACallThatIsGivenUpEnds: the handler's context ends with the client's, and its deadline is the client's.
func TestACallThatIsGivenUpEnds(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan error, 1)
	conn := overTLS(t, &say{unary: func(ctx context.Context, in *bytesValue) (*bytesValue, error) {
		if len(in.Value) > 0 {
			_, ok := ctx.Deadline()
			return wrapperspb.Bytes(fmt.Append(nil, ok)), nil
		}
		began <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}})
	call := func(ctx context.Context, in string) error {
		return conn.Invoke(ctx, "/test.Say/Unary", wrapperspb.Bytes([]byte(in)), &bytesValue{})
	}
	require.NoError(t, call(context.Background(), "connect"))
	cancelled, give := context.WithCancel(context.Background())
	go func() { <-began; give() }()
	require.Equal(t, codes.Canceled, status.Code(call(cancelled, "")))
	require.Equal(t, context.Canceled, <-ended)
	for late, wait := false, 50*time.Millisecond; !late; wait *= 2 { // a slow machine may not begin in time
		short, cancel := context.WithTimeout(context.Background(), wait)
		require.Equal(t, codes.DeadlineExceeded, status.Code(call(short, "")))
		cancel()
		select {
		case <-began:
			require.Error(t, <-ended)
			late = true
		case <-time.After(wait):
		}
	}
}

// TestStreamsGoBothWays: each message is answered before the next is sent, and the client ends its half first.
func TestStreamsGoBothWays(t *testing.T) {
	conn := overTLS(t, &say{})
	stream, err := conn.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Say/Echo")
	require.NoError(t, err)
	for i := range 100 {
		in, out := wrapperspb.Bytes(bytes.Repeat([]byte{byte(i)}, i*i*10)), &bytesValue{}
		require.NoError(t, stream.SendMsg(in))
		require.NoError(t, stream.RecvMsg(out))
		require.True(t, proto.Equal(in, out))
	}
	require.NoError(t, stream.CloseSend())
	require.Equal(t, io.EOF, stream.RecvMsg(&bytesValue{}))
	require.Equal(t, []string{"100"}, stream.Trailer()["count"])
	require.Equal(t, []string{"\x00\xff"}, stream.Trailer()["raw-bin"])
}

// TestWhatASourceSaysArrivesWhole: in order, whatever its size, and then how it ended.
func TestWhatASourceSaysArrivesWhole(t *testing.T) {
	s := &say{told: &told{most: 300}}
	conn := overTLS(t, s)
	stream, err := conn.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, "/test.Say/Tell")
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(&bytesValue{}))
	require.NoError(t, stream.CloseSend())
	_, err = stream.Header()
	require.NoError(t, err)
	for i := int64(1); i <= s.told.most; i++ {
		if i%3 == 1 {
			s.told.allowed.Add(3)
			s.told.wake()
		}
		out := &bytesValue{}
		require.NoError(t, stream.RecvMsg(out))
		require.Len(t, out.Value, int(i*7919%50_000))
	}
	require.Equal(t, codes.ResourceExhausted, status.Code(stream.RecvMsg(&bytesValue{})))
	require.Eventually(t, s.told.closed.Load, 10*time.Second, time.Millisecond)
}

// TestWhatIsCutOffIsNotTakenForComplete: a client that takes nothing until its time is over is not told that this was all, nor
// one whose source has panicked.
func TestWhatIsCutOffIsNotTakenForComplete(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	p := &pulledCall{call: &wireCall{ctx: ctx}, source: &told{most: 1}}
	_, state := p.Append(nil, 0)
	require.Equal(t, h2.Done, state)
	require.Equal(t, []string{strconv.Itoa(int(codes.DeadlineExceeded))}, p.Trailer()["grpc-status"])

	s := &say{told: &told{most: 1}}
	conn := overTLS(t, s)
	stream, err := conn.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, "/test.Say/Tell")
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(&bytesValue{}))
	_, err = stream.Header()
	require.NoError(t, err)
	s.told.panics.Store(true)
	s.told.wake()
	require.Equal(t, codes.Internal, status.Code(stream.RecvMsg(&bytesValue{})))
}
