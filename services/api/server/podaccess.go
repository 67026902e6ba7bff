package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
)

// NodeDialer returns a connection to a node's agent, which it owns: connections are kept and shared.
type NodeDialer interface {
	DialNode(ctx context.Context, node *corev1.Node) (grpc.ClientConnInterface, error)
}

// PodAccess implements PodAccessService: it authorizes, finds the pod's node and passes the streams through.
type PodAccess struct {
	agentv1.UnimplementedPodAccessServiceServer
	Server *Server
	Nodes  NodeDialer
}

// Exec implements PodAccessService.
func (p *PodAccess) Exec(down grpc.BidiStreamingServer[agentv1.ExecRequest, agentv1.ExecResponse]) error {
	return p.execute(down, "exec", agentv1.PodAccessServiceClient.Exec)
}

// Attach implements PodAccessService.
func (p *PodAccess) Attach(down grpc.BidiStreamingServer[agentv1.ExecRequest, agentv1.ExecResponse]) error {
	return p.execute(down, "attach", agentv1.PodAccessServiceClient.Attach)
}

type (
	execServer = grpc.BidiStreamingServer[agentv1.ExecRequest, agentv1.ExecResponse]
	execClient = grpc.BidiStreamingClient[agentv1.ExecRequest, agentv1.ExecResponse]
)

func (p *PodAccess) execute(down execServer, subresource string, open func(agentv1.PodAccessServiceClient, context.Context, ...grpc.CallOption) (execClient, error)) error {
	first, err := down.Recv()
	if err != nil {
		return err
	}
	first = proto.CloneOf(first)
	start := first.GetStart()
	if start == nil {
		return apierrors.NewBadRequest("the first message of a stream must carry start")
	}
	agent, err := p.agent(down.Context(), start.GetPod(), subresource, func() *connection { return execConnection(start, subresource) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	up, err := open(agent, ctx)
	if err != nil {
		return err
	}
	return pipe(down, up, first)
}

// PortForward implements PodAccessService.
func (p *PodAccess) PortForward(down grpc.BidiStreamingServer[agentv1.PortForwardRequest, agentv1.PortForwardResponse]) error {
	first, err := down.Recv()
	if err != nil {
		return err
	}
	first = proto.CloneOf(first)
	start := first.GetStart()
	if start == nil {
		return apierrors.NewBadRequest("the first message of a stream must carry start")
	}
	agent, err := p.agent(down.Context(), start.GetPod(), "portforward", func() *connection { return portForwardConnection(start) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	up, err := agent.PortForward(ctx)
	if err != nil {
		return err
	}
	return pipe(down, up, first)
}

// pipe passes messages both ways until the agent ends the stream. The goroutine that reads from the client ends with
// the client's stream, which ends when pipe returns.
func pipe[Req, Res any](down grpc.BidiStreamingServer[Req, Res], up grpc.BidiStreamingClient[Req, Res], first *Req) error {
	if err := up.Send(first); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	go func() {
		for {
			msg, err := down.Recv()
			if err != nil {
				_ = up.CloseSend()
				return
			}
			if up.Send(msg) != nil {
				return
			}
		}
	}()
	return copyDown(up, down)
}

// copyDown passes on the agent's headers, by which clients know that a command runs that has nothing to say yet, and
// then its messages.
func copyDown[Res any](up grpc.ServerStreamingClient[Res], down grpc.ServerStreamingServer[Res]) error {
	if md, err := up.Header(); err == nil && md != nil {
		if err := down.SendHeader(metadata.MD{}); err != nil {
			return err
		}
	}
	for {
		msg, err := up.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := down.Send(msg); err != nil {
			return err
		}
	}
}

// agent authorizes a connection to a pod's subresource, asks admission about it, and returns the agent of the pod's node.
func (p *PodAccess) agent(ctx context.Context, ref *agentv1.PodRef, subresource string, connect func() *connection) (agentv1.PodAccessServiceClient, error) {
	pod, err := p.pod(ctx, ref, "create", subresource)
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest("pod " + pod.Name + " does not have a host assigned")
	}
	if err := p.Server.admitConnection(ctx, ref, subresource, connect()); err != nil {
		return nil, err
	}
	return p.dial(ctx, pod.Spec.NodeName)
}

// pod authorizes access to a pod's subresource and returns the pod. In ref it fills in the container.
func (p *PodAccess) pod(ctx context.Context, ref *agentv1.PodRef, verb, subresource string) (*corev1.Pod, error) {
	user, _ := identity.UserFrom(ctx)
	attrs := authz.Attributes{
		User: user, Verb: verb, Version: "v1", Resource: "pods", Subresource: subresource, Namespace: ref.GetNamespace(), Name: ref.GetName(),
	}
	if err := p.Server.authorize(ctx, attrs); err != nil {
		return nil, err
	}
	if err := p.Server.freshen(ctx, ""); err != nil {
		return nil, err
	}
	obj, err := p.Server.Read(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), ref.GetNamespace(), ref.GetName())
	if err != nil {
		return nil, err
	}
	pod := obj.(*corev1.Pod)
	if ref.GetUid() != "" && ref.GetUid() != string(pod.UID) {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), ref.GetName())
	}
	return pod, resolveContainer(ref, pod)
}

func (p *PodAccess) dial(ctx context.Context, name string) (agentv1.PodAccessServiceClient, error) {
	obj, err := p.Server.Read(ctx, corev1.SchemeGroupVersion.WithKind("Node"), "", name)
	if err != nil {
		return nil, err
	}
	if p.Nodes == nil {
		return nil, status.Error(codes.Unavailable, "this API service reaches no nodes")
	}
	conn, err := p.Nodes.DialNode(ctx, obj.(*corev1.Node))
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "reach node %s: %v", name, err)
	}
	return agentv1.NewPodAccessServiceClient(conn), nil
}
