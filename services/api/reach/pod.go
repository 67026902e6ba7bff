package reach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/bytestream"
)

// DialPod connects to a pod's port as from outside of the pod, through the agent of its node.
func (r *Reacher) DialPod(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	obj, err := r.objects.Read(ctx, gvkPod, namespace, name)
	if err != nil {
		return nil, err
	}
	pod := obj.(*corev1.Pod)
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	agent, err := r.agent(ctx, pod.Spec.NodeName)
	if err != nil {
		return nil, err
	}
	// The connection outlives the call that makes it.
	open, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started := time.AfterFunc(dialTimeout, cancel)
	stop := context.AfterFunc(ctx, cancel)
	stream, err := start(agent, open, &agentv1.PortForwardStart{
		Pod: &agentv1.PodRef{Namespace: namespace, Name: name, Uid: string(pod.UID)}, Port: port, FromOutside: true,
	})
	inTime, calm := started.Stop(), stop()
	switch {
	case err == nil && inTime && calm:
		remote := podAddr(net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port))))
		return bytestream.New(podStream{stream}, cancel, podAddr("api"), remote), nil
	case ctx.Err() != nil:
		err = fmt.Errorf("connect to pod %s: %w", name, context.Cause(ctx))
	case !inTime:
		err = apierrors.NewServiceUnavailable(fmt.Sprintf("connect to pod %s: its node has not answered in %v", name, dialTimeout))
	}
	cancel()
	return nil, unreached(name, err)
}

// unreached tells that a pod's port does not answer; what the caller can mend stays as it is.
func unreached(pod string, err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsBadRequest(err) || apierrors.IsServiceUnavailable(err) {
		return err
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("connect to pod %s: %v", pod, err))
}

// start begins a port-forward and waits until the agent has connected.
func start(agent agentv1.PodAccessServiceClient, ctx context.Context, at *agentv1.PortForwardStart) (agentv1.PodAccessService_PortForwardClient, error) {
	stream, err := agent.PortForward(ctx)
	if err != nil {
		return nil, apierr.FromGRPC(err)
	}
	err = stream.Send(&agentv1.PortForwardRequest{Message: &agentv1.PortForwardRequest_Start{Start: at}})
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, apierr.FromGRPC(err)
	}
	if md, err := stream.Header(); err == nil && md != nil {
		return stream, nil
	}
	// No headers: the stream has ended, and this is how.
	_, err = stream.Recv()
	if err == nil || errors.Is(err, io.EOF) {
		err = apierrors.NewServiceUnavailable("the node's agent has ended the connection")
	}
	return nil, apierr.FromGRPC(err)
}

func (r *Reacher) agent(ctx context.Context, name string) (agentv1.PodAccessServiceClient, error) {
	if r.nodes == nil {
		return nil, apierrors.NewServiceUnavailable("this API service reaches no nodes")
	}
	obj, err := r.objects.Read(ctx, gvkNode, "", name)
	if err != nil {
		return nil, err
	}
	conn, err := r.nodes.DialNode(ctx, obj.(*corev1.Node))
	if err != nil {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("reach node %s: %v", name, err))
	}
	return agentv1.NewPodAccessServiceClient(conn), nil
}

// podStream is a port-forward as a stream of bytes.
type podStream struct {
	stream agentv1.PodAccessService_PortForwardClient
}

func (s podStream) Send(data []byte) error {
	return s.stream.Send(&agentv1.PortForwardRequest{Message: &agentv1.PortForwardRequest_Data{Data: data}})
}

// CloseSend half-closes the connection in the pod; the stream stays open for what the pod still says.
func (s podStream) CloseSend() error {
	return s.stream.Send(&agentv1.PortForwardRequest{Message: &agentv1.PortForwardRequest_CloseWrite{CloseWrite: true}})
}

func (s podStream) Recv() ([]byte, error) {
	res, err := s.stream.Recv()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = apierr.FromGRPC(err)
		}
		return nil, err
	}
	return res.GetData(), nil
}

// podAddr is the address of an end that is no socket of this machine.
type podAddr string

// Network implements net.Addr.
func (podAddr) Network() string { return "tcp" }

// String implements net.Addr.
func (a podAddr) String() string { return string(a) }
