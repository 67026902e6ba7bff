package tunnel

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// target is one kind of thing that tunnels lead to.
type target struct {
	resource string
	connect  func(s *Service, ctx context.Context, namespace string, to address) (net.Conn, error)
}

var targets = map[apiv1.TunnelStart_Target]target{
	apiv1.TunnelStart_TARGET_POD:     {"pods", (*Service).toPod},
	apiv1.TunnelStart_TARGET_SERVICE: {"services", (*Service).toService},
	apiv1.TunnelStart_TARGET_NODE:    {"nodes", (*Service).toNode},
}

// address is what a name in the URL of a proxied request says.
type address struct{ scheme, name, port string }

// parseAddress reads "name", "name:port" and "scheme:name:port".
func parseAddress(text string) (address, bool) {
	var a address
	switch parts := strings.Split(text, ":"); len(parts) {
	case 1:
		a.name = parts[0]
	case 2:
		a.name, a.port = parts[0], parts[1]
	case 3:
		a.scheme, a.name, a.port = parts[0], parts[1], parts[2]
	default:
		return a, false
	}
	return a, a.name != "" && (a.scheme == "" || a.scheme == "http" || a.scheme == "https")
}

// number is the port that an address names; 0 when it names none.
func (a address) number() (int32, error) {
	if a.port == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(a.port, 10, 16)
	if err != nil || n == 0 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("%q is no port", a.port))
	}
	return int32(n), nil
}

// toPod connects to the port that is asked for, or the first that the pod declares, or the scheme's.
func (s *Service) toPod(ctx context.Context, namespace string, to address) (net.Conn, error) {
	port, err := to.number()
	if err != nil {
		return nil, err
	}
	if port == 0 {
		obj, err := s.config.Objects.Read(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), namespace, to.name)
		if err != nil {
			return nil, err
		}
		port = firstPort(obj.(*corev1.Pod), to.scheme)
	}
	conn, err := s.config.Reach.DialPod(ctx, namespace, to.name, port)
	return secured(ctx, conn, err, to.scheme)
}

func firstPort(pod *corev1.Pod, scheme string) int32 {
	for i := range pod.Spec.Containers {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			return ports[0].ContainerPort
		}
	}
	if scheme == "https" {
		return 443
	}
	return 80
}

func (s *Service) toService(ctx context.Context, namespace string, to address) (net.Conn, error) {
	conn, err := s.config.Reach.DialService(ctx, namespace, to.name, to.port)
	return secured(ctx, conn, err, to.scheme)
}

// toNode connects to the node's agent, unless another port of the node is asked for.
func (s *Service) toNode(ctx context.Context, _ string, to address) (net.Conn, error) {
	port, err := to.number()
	if err != nil {
		return nil, err
	}
	obj, err := s.config.Objects.Read(ctx, corev1.SchemeGroupVersion.WithKind("Node"), "", to.name)
	if err != nil {
		return nil, err
	}
	node := obj.(*corev1.Node)
	if port != 0 && port != node.Status.DaemonEndpoints.KubeletEndpoint.Port {
		conn, err := s.config.Reach.DialNode(ctx, to.name, port)
		return secured(ctx, conn, err, to.scheme)
	}
	if s.config.Agents == nil {
		return nil, apierrors.NewServiceUnavailable("this API service reaches no nodes")
	}
	conn, err := s.config.Agents.DialHTTPS(ctx, node)
	if err != nil {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("reach node %s: %v", to.name, err))
	}
	return conn, nil
}
