// Package transport connects Karve's processes: one gRPC server that is reached over mTLS from other processes and
// by direct calls inside its own, with the same interceptors and the same notion of who calls.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"karve.dev/karve/internal/identity"
)

// MaxMessageBytes bounds one gRPC message: a list of a very large collection fits, a runaway does not.
const MaxMessageBytes = 256 << 20

// maxRequestBytes bounds what a server takes of anybody, before it knows who that is: objects are smaller, and what is
// larger comes in streams.
const maxRequestBytes = 16 << 20

// Server holds the gRPC services of a process. Services are registered before the first Conn or Serve; after that
// it is safe for concurrent use.
type Server struct {
	services map[string]*service
	unary    grpc.UnaryServerInterceptor
	stream   grpc.StreamServerInterceptor
	inflight sync.WaitGroup
}

type service struct {
	desc *grpc.ServiceDesc
	impl any
}

// NewServer returns a server whose handlers all run inside the given interceptors; either may be nil.
func NewServer(unary grpc.UnaryServerInterceptor, stream grpc.StreamServerInterceptor) *Server {
	return &Server{services: map[string]*service{}, unary: unary, stream: stream}
}

// RegisterService implements grpc.ServiceRegistrar. It panics on a service that is registered twice.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if s.services[desc.ServiceName] != nil {
		panic("transport: service registered twice: " + desc.ServiceName)
	}
	s.services[desc.ServiceName] = &service{desc: desc, impl: impl}
}

// GetServiceInfo implements reflection.ServiceInfoProvider.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo {
	out := make(map[string]grpc.ServiceInfo, len(s.services))
	for name, svc := range s.services {
		info := grpc.ServiceInfo{Metadata: svc.desc.Metadata}
		for _, m := range svc.desc.Methods {
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
		}
		for _, d := range svc.desc.Streams {
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: d.StreamName, IsClientStream: d.ClientStreams, IsServerStream: d.ServerStreams})
		}
		out[name] = info
	}
	return out
}

// Conn returns a connection for use inside this process. Its calls come from peer; no bytes are copied.
func (s *Server) Conn(peer identity.User) grpc.ClientConnInterface {
	return &inprocConn{server: s, peer: peer}
}

func (s *Server) runStream(svc *service, d *grpc.StreamDesc, info *grpc.StreamServerInfo, ss grpc.ServerStream) error {
	if s.stream == nil {
		return d.Handler(svc.impl, ss)
	}
	return s.stream(svc.impl, ss, info, d.Handler)
}

// Serve accepts TLS connections on lis until ctx ends, then drains for a moment and closes what is left. A client
// certificate that config verified names the peer.
func (s *Server) Serve(ctx context.Context, lis net.Listener, config *tls.Config) error {
	return s.serve(ctx, lis, credentials.NewTLS(config))
}

func (s *Server) serve(ctx context.Context, lis net.Listener, creds credentials.TransportCredentials) error {
	opts := []grpc.ServerOption{
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.MaxConcurrentStreams(20000),
		grpc.ChainUnaryInterceptor(peerUnary), grpc.ChainStreamInterceptor(peerStream),
	}
	if s.unary != nil {
		opts = append(opts, grpc.ChainUnaryInterceptor(s.unary))
	}
	if s.stream != nil {
		opts = append(opts, grpc.ChainStreamInterceptor(s.stream))
	}
	g := grpc.NewServer(opts...)
	for _, svc := range s.services {
		g.RegisterService(svc.desc, svc.impl)
	}
	failed := make(chan error, 1)
	go func() { failed <- g.Serve(lis) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve gRPC on %s: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	drained := time.AfterFunc(2*time.Second, g.Stop)
	g.GracefulStop()
	drained.Stop()
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC on %s: %w", lis.Addr(), err)
	}
	return nil
}

// Wait returns when every in-process stream has ended; callers have ended their own contexts before.
func (s *Server) Wait() { s.inflight.Wait() }
