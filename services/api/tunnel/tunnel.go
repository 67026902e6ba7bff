// Package tunnel carries connections between the gateway, which knows HTTP, and what runs in the cluster, for the proxy
// subresources of pods, services and nodes and for aggregated APIs. It authorizes each connection and makes it.
package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/bytestream"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/reach"
)

// Agents connects to the HTTPS endpoints of a node's agent, over TLS that both ends have proven themselves on.
type Agents interface {
	DialHTTPS(ctx context.Context, node *corev1.Node) (net.Conn, error)
}

// APIServices connects to the servers of aggregated APIs, over TLS, by the name of the APIService.
type APIServices interface {
	Dial(ctx context.Context, name string) (net.Conn, error)
}

// Config makes a Service.
type Config struct {
	// Authorize refuses what the caller in ctx may not do.
	Authorize func(ctx context.Context, attrs authz.Attributes) error
	// Sync returns when Objects has everything that was acknowledged before the call.
	Sync    func(ctx context.Context) error
	Objects reach.Objects
	Reach   *reach.Reacher
	// Agents may be nil: then no node's agent is reached.
	Agents      Agents
	APIServices APIServices
}

// Service implements TunnelService.
type Service struct {
	apiv1.UnimplementedTunnelServiceServer
	config Config
}

// New returns the service.
func New(config Config) *Service { return &Service{config: config} }

// Open implements TunnelService.
func (s *Service) Open(stream apiv1.TunnelService_OpenServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return apierrors.NewBadRequest("the first message of a tunnel must carry start")
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	conn, err := s.connect(ctx, start)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	end := serverEnd{stream}
	// It ends with the stream, which ends when this handler returns.
	go func() {
		if bytestream.Receive(conn, end) == nil {
			if half, ok := conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
		}
	}()
	if err := bytestream.Send(end, conn); err != nil && ctx.Err() == nil {
		return apierrors.NewServiceUnavailable("the connection has failed: " + err.Error())
	}
	return nil
}

// connect makes the connection that a tunnel is for.
func (s *Service) connect(ctx context.Context, start *apiv1.TunnelStart) (net.Conn, error) {
	if start.GetTarget() == apiv1.TunnelStart_TARGET_API_SERVICE {
		if err := onlyGateway(ctx); err != nil {
			return nil, err
		}
		return s.config.APIServices.Dial(ctx, start.GetName())
	}
	to, ok := targets[start.GetTarget()]
	if !ok {
		return nil, apierrors.NewBadRequest("a tunnel leads to a pod, a service or a node")
	}
	if err := s.authorize(ctx, to.resource, start); err != nil {
		return nil, err
	}
	addr, ok := parseAddress(start.GetName())
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q", to.resource[:len(to.resource)-1], start.GetName()))
	}
	if err := s.config.Sync(ctx); err != nil {
		return nil, err
	}
	return to.connect(s, ctx, start.GetNamespace(), addr)
}

var allVerbs = []string{"get", "create", "update", "patch", "delete"}

// authorize asks for the verb by which the gateway says that the tunnel is used. Whoever else opens one may say one thing
// in the tunnel after having said another, and must be allowed everything.
func (s *Service) authorize(ctx context.Context, resource string, start *apiv1.TunnelStart) error {
	user, _ := identity.UserFrom(ctx)
	verbs := allVerbs
	if onlyGateway(ctx) == nil {
		verbs = []string{start.GetVerb()}
	}
	for _, verb := range verbs {
		attrs := authz.Attributes{
			User: user, Verb: verb, Version: "v1", Resource: resource, Subresource: "proxy", Namespace: start.GetNamespace(), Name: start.GetName(),
		}
		if err := s.config.Authorize(ctx, attrs); err != nil {
			return err
		}
	}
	return nil
}

func onlyGateway(ctx context.Context) error {
	if peer, ok := identity.Peer(ctx); !ok || peer.Name != identity.UserGateway {
		return apierrors.NewForbidden(corev1.Resource("tunnels"), "", fmt.Errorf("only %s may ask", identity.UserGateway))
	}
	return nil
}

// Admit implements TunnelService.
func (s *Service) Admit(ctx context.Context, req *apiv1.AdmitRequest) (*apiv1.AdmitResponse, error) {
	if err := onlyGateway(ctx); err != nil {
		return nil, err
	}
	user, _ := identity.UserFrom(ctx)
	attrs := authz.Attributes{
		User: user, Verb: req.GetVerb(), Group: req.GetGroup(), Version: req.GetVersion(), Resource: req.GetResource(),
		Subresource: req.GetSubresource(), Namespace: req.GetNamespace(), Name: req.GetName(), Path: req.GetPath(),
	}
	if err := s.config.Authorize(ctx, attrs); err != nil {
		return nil, err
	}
	res := &apiv1.AdmitResponse{User: user.Name, Uid: user.UID, Groups: user.Groups}
	for key, values := range user.Extra {
		if res.Extra == nil {
			res.Extra = map[string]*apiv1.ExtraValues{}
		}
		res.Extra[key] = &apiv1.ExtraValues{Values: values}
	}
	return res, nil
}

// handshakeTimeout bounds how long the other end may take to agree upon TLS.
const handshakeTimeout = 10 * time.Second

// secured agrees upon TLS where the scheme says so. Who serves in a pod has a certificate of its own making at best: it is
// not checked, as in Kubernetes.
func secured(ctx context.Context, conn net.Conn, err error, scheme string) (net.Conn, error) {
	if err != nil || scheme != "https" {
		return conn, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	out := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := out.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, apierrors.NewServiceUnavailable("agree upon TLS: " + err.Error())
	}
	return out, nil
}

// serverEnd is the server's end of a tunnel as a stream of bytes.
type serverEnd struct {
	stream grpc.BidiStreamingServer[apiv1.OpenRequest, apiv1.OpenResponse]
}

func (e serverEnd) Send(data []byte) error { return e.stream.Send(&apiv1.OpenResponse{Data: data}) }

// CloseSend does nothing: the stream ends with its handler.
func (e serverEnd) CloseSend() error { return nil }

func (e serverEnd) Recv() ([]byte, error) {
	req, err := e.stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return req.GetData(), err
}
