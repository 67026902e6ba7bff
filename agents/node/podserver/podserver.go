// Package podserver reaches into a node's pods for the API service: logs, exec, attach and port-forward.
package podserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/runtime"
	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/identity"
)

// Pod is a pod of this node as it is now.
type Pod struct {
	Spec *corev1.Pod
	// Sandbox is nil while there is none.
	Sandbox *runtime.Container
	// Containers are by name, oldest attempt first.
	Containers map[string][]runtime.Container
	Status     corev1.PodStatus
	// Volumes are where its volumes are on the node, by their names, once they have been prepared.
	Volumes map[string]string
}

// Pods finds a pod; uid may be empty.
type Pods func(namespace, name, uid string) (*Pod, bool)

// Dial connects to an address inside a sandbox.
type Dial func(ctx context.Context, sandbox *runtime.Container, addr netip.AddrPort) (net.Conn, error)

// Server is the node's PodAccessService. Only the API service may call it: that is where callers are authorized.
type Server struct {
	agentv1.UnimplementedPodAccessServiceServer
	rt     runtime.Runtime
	pods   Pods
	dial   Dial
	engine func() error
}

// New returns a server. engine says what is wrong with the container engine: one that is ill is not asked, as it might
// never answer.
func New(rt runtime.Runtime, pods Pods, dial Dial, engine func() error) *Server {
	return &Server{rt: rt, pods: pods, dial: dial, engine: engine}
}

// Guard refuses every caller but the API service.
func Guard(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if peer, ok := identity.Peer(ss.Context()); !ok || peer.Name != identity.UserAPI {
		return status.Errorf(codes.PermissionDenied, "only %s may call a node agent, not %q", identity.UserAPI, peer.Name)
	}
	return next(srv, ss)
}

// GuardUnary is Guard for unary methods.
func GuardUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if peer, ok := identity.Peer(ctx); !ok || peer.Name != identity.UserAPI {
		return nil, status.Errorf(codes.PermissionDenied, "only %s may call a node agent, not %q", identity.UserAPI, peer.Name)
	}
	return next(ctx, req)
}

// find returns the pod and the name of the container that a reference means.
func (s *Server) find(ref *agentv1.PodRef) (*Pod, string, error) {
	pod, ok := s.pods(ref.GetNamespace(), ref.GetName(), ref.GetUid())
	if !ok {
		return nil, "", apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, ref.GetName())
	}
	name := ref.GetContainer()
	if name == "" {
		name = pod.Spec.Annotations["kubectl.kubernetes.io/default-container"]
	}
	if name == "" {
		name = pod.Spec.Spec.Containers[0].Name
	}
	if !has(pod.Spec, name) {
		return nil, "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, ref.GetName()))
	}
	return pod, name, nil
}

func has(pod *corev1.Pod, name string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return true
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return false
}

// running returns the container that a reference means, which must run.
func (s *Server) running(ref *agentv1.PodRef) (runtime.Container, error) {
	if err := s.engine(); err != nil {
		return runtime.Container{}, apierrors.NewInternalError(err)
	}
	pod, name, err := s.find(ref)
	if err != nil {
		return runtime.Container{}, err
	}
	all := pod.Containers[name]
	if len(all) > 0 && all[len(all)-1].State == runtime.Running {
		return all[len(all)-1], nil
	}
	return runtime.Container{}, apierrors.NewBadRequest(fmt.Sprintf("container not found (%q): it is not running", name))
}

// Logs implements PodAccessService.
func (s *Server) Logs(req *agentv1.LogsRequest, stream grpc.ServerStreamingServer[agentv1.LogsResponse]) error {
	return apierr.ToGRPC(s.logs(req, stream))
}

func (s *Server) logs(req *agentv1.LogsRequest, stream grpc.ServerStreamingServer[agentv1.LogsResponse]) error {
	reader, ok := s.rt.(runtime.LogReader)
	if !ok {
		return apierrors.NewMethodNotSupported(schema.GroupResource{Resource: "pods"}, "logs")
	}
	if err := s.engine(); err != nil {
		return apierrors.NewInternalError(err)
	}
	pod, name, err := s.find(req.GetPod())
	if err != nil {
		return err
	}
	c, err := choose(pod, name, req.GetPrevious())
	if err != nil {
		return err
	}
	opts, err := logOptions(req, c.TTY)
	if err != nil {
		return err
	}
	// Headers say that there is a log, even when it stays empty.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	out := &logWriter{stream: stream, left: -1}
	if req.LimitBytes != nil {
		out.left = req.GetLimitBytes()
	}
	stdout, stderr := io.Writer(out), io.Writer(out)
	switch req.GetStream() {
	case corev1.LogStreamStdout:
		stderr = nil
	case corev1.LogStreamStderr:
		stdout = nil
	}
	if out.left == 0 {
		return nil
	}
	err = reader.Logs(stream.Context(), c.ID, opts, stdout, stderr)
	if out.full {
		return nil
	}
	return err
}

// choose picks the attempt whose log is meant.
func choose(pod *Pod, name string, previous bool) (*runtime.Container, error) {
	var kept []*runtime.Container
	for i := range pod.Containers[name] {
		if c := &pod.Containers[name][i]; !c.Removed && c.State != runtime.Created {
			kept = append(kept, c)
		}
	}
	n := len(kept)
	waiting := isWaiting(pod, name)
	switch {
	case previous && waiting != "" && n > 0:
		return kept[n-1], nil // the last one that ran: the next one is held back
	case previous && n > 1:
		return kept[n-2], nil
	case previous:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", name, pod.Spec.Name))
	case n > 0:
		return kept[n-1], nil
	case waiting != "":
		return nil, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", name, pod.Spec.Name, waitText(waiting)))
	}
	return nil, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is not available", name, pod.Spec.Name))
}

// waitTexts are what a kubelet says of an image that is not there.
var waitTexts = map[string]string{
	image.ErrImagePull:     "image can't be pulled",
	image.ImagePullBackOff: "trying and failing to pull image",
}

func waitText(reason string) string {
	if text := waitTexts[reason]; text != "" {
		return text
	}
	return reason
}

func isWaiting(pod *Pod, name string) string {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name && list[i].State.Waiting != nil {
				return list[i].State.Waiting.Reason
			}
		}
	}
	return ""
}

func logOptions(req *agentv1.LogsRequest, tty bool) (runtime.LogOptions, error) {
	opts := runtime.LogOptions{Follow: req.GetFollow(), Timestamps: req.GetTimestamps(), Tail: -1, TTY: tty}
	if req.TailLines != nil {
		opts.Tail = req.GetTailLines()
	}
	if req.SinceSeconds != nil {
		opts.Since = time.Now().Add(-time.Duration(req.GetSinceSeconds()) * time.Second)
	}
	if text := req.GetSinceTime(); text != "" {
		since, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return opts, apierrors.NewBadRequest(fmt.Sprintf("sinceTime %q: %v", text, err))
		}
		opts.Since = since
	}
	return opts, nil
}

// logWriter sends what is written, up to a limit.
type logWriter struct {
	stream grpc.ServerStreamingServer[agentv1.LogsResponse]
	left   int64 // negative: no limit
	full   bool
}

func (l *logWriter) Write(data []byte) (int, error) {
	n := len(data)
	if l.left >= 0 && int64(n) >= l.left {
		data, l.full = data[:l.left], true
	}
	send := writer(func(part []byte) error { return l.stream.Send(&agentv1.LogsResponse{Data: part}) })
	if _, err := send.Write(data); err != nil {
		return 0, err
	}
	if l.full {
		return 0, io.ErrShortWrite
	}
	if l.left >= 0 {
		l.left -= int64(n)
	}
	return n, nil
}
