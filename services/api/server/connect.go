package server

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/registry"
)

// The options of a connection are what admission knows of it. They are no objects: they have no metadata to show.
type (
	execOptions struct {
		metav1.ObjectMeta     `json:"-"`
		corev1.PodExecOptions `json:",inline"`
	}
	attachOptions struct {
		metav1.ObjectMeta       `json:"-"`
		corev1.PodAttachOptions `json:",inline"`
	}
	portForwardOptions struct {
		metav1.ObjectMeta            `json:"-"`
		corev1.PodPortForwardOptions `json:",inline"`
	}
)

// connection is the options of a connection, with their kind.
type connection struct {
	options registry.Object
	kind    string
}

func execConnection(start *agentv1.ExecStart, subresource string) *connection {
	if subresource == "attach" {
		return &connection{&attachOptions{PodAttachOptions: corev1.PodAttachOptions{
			Stdin: start.GetStdin(), Stdout: start.GetStdout(), Stderr: start.GetStderr(), TTY: start.GetTty(), Container: start.GetPod().GetContainer(),
		}}, "PodAttachOptions"}
	}
	return &connection{&execOptions{PodExecOptions: corev1.PodExecOptions{
		Stdin: start.GetStdin(), Stdout: start.GetStdout(), Stderr: start.GetStderr(), TTY: start.GetTty(), Container: start.GetPod().GetContainer(), Command: start.GetCommand(),
	}}, "PodExecOptions"}
}

func portForwardConnection(start *agentv1.PortForwardStart) *connection {
	return &connection{&portForwardOptions{PodPortForwardOptions: corev1.PodPortForwardOptions{Ports: []int32{start.GetPort()}}}, "PodPortForwardOptions"}
}

// admitConnection asks admission about a connection to a pod. What it would change of the options does not
// matter: the stream has begun with what the client wants.
func (s *Server) admitConnection(ctx context.Context, ref *agentv1.PodRef, subresource string, c *connection) error {
	pods, ok := s.lookup(corev1.SchemeGroupVersion.WithKind("Pod"))
	if !ok {
		return errUnknownKind()
	}
	user, _ := identity.UserFrom(ctx)
	r := &request{served: pods, namespace: ref.GetNamespace(), name: ref.GetName(), subresource: subresource, user: user, now: time.Now()}
	return s.admitPart(ctx, r, admission.Connect, corev1.SchemeGroupVersion.WithKind(c.kind), c.options, nil, false)
}
