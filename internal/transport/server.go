// Package transport connects Karve's processes: one gRPC server that is reached over mTLS from other processes and
// by direct calls inside its own, with the same interceptors and the same notion of who calls.
package transport

import (
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

func (s *Server) lookup(fullMethod string) (*service, string, error) {
	name, method, ok := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if svc := s.services[name]; ok && svc != nil {
		return svc, method, nil
	}
	return nil, "", status.Errorf(codes.Unimplemented, "unknown service in method %q", fullMethod)
}

func (s *Server) runStream(svc *service, d *grpc.StreamDesc, info *grpc.StreamServerInfo, ss grpc.ServerStream) error {
	if s.stream == nil {
		return d.Handler(svc.impl, ss)
	}
	return s.stream(svc.impl, ss, info, d.Handler)
}

// Wait returns when every in-process stream has ended; callers have ended their own contexts before.
func (s *Server) Wait() { s.inflight.Wait() }
