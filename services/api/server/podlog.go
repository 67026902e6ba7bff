package server

import (
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
)

// Logs implements PodAccessService. Of a pod that has no node yet there is nothing to tell: that is no error.
func (p *PodAccess) Logs(req *agentv1.LogsRequest, down grpc.ServerStreamingServer[agentv1.LogsResponse]) error {
	// The container is filled in below, and a caller in this process still owns its message.
	req = proto.CloneOf(req)
	pod, err := p.pod(down.Context(), req.GetPod(), "get", "log")
	if err != nil {
		return err
	}
	if errs := validateLogs(req); len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), pod.Name, errs)
	}
	if pod.Spec.NodeName == "" {
		return nil
	}
	agent, err := p.dial(down.Context(), pod.Spec.NodeName)
	if err != nil {
		return err
	}
	up, err := agent.Logs(down.Context(), req)
	if err != nil {
		return err
	}
	return copyDown(up, down)
}

var logStreams = []string{corev1.LogStreamAll, corev1.LogStreamStderr, corev1.LogStreamStdout}

// validateLogs says what is wrong in the words of Kubernetes.
func validateLogs(req *agentv1.LogsRequest) (errs field.ErrorList) {
	positive := func(name string, n *int64) {
		if n != nil && *n < 1 {
			errs = append(errs, field.Invalid(field.NewPath(name), *n, "must be greater than 0"))
		}
	}
	if req.TailLines != nil && req.GetTailLines() < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), req.GetTailLines(), "must be greater than or equal to 0"))
	}
	positive("limitBytes", req.LimitBytes)
	if req.SinceSeconds != nil && req.GetSinceTime() != "" {
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	} else {
		positive("sinceSeconds", req.SinceSeconds)
	}
	stream := req.GetStream()
	if stream == "" {
		return errs
	}
	if !slices.Contains(logStreams, stream) {
		errs = append(errs, field.NotSupported(field.NewPath("stream"), stream, logStreams))
	}
	if stream != corev1.LogStreamAll && req.TailLines != nil {
		errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
	}
	return errs
}
