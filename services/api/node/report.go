package node

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
)

// maxReports bounds the pods of one report.
const maxReports = 5000

// Report implements StatusService: the reports of many pods go into one commit.
func (s *Service) Report(ctx context.Context, req *nodev1.ReportRequest) (*nodev1.ReportResponse, error) {
	if err := checkCaller(ctx, req.GetNode()); err != nil {
		return nil, err
	}
	if len(req.GetPods()) > maxReports {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d pods", maxReports))
	}
	res := &nodev1.ReportResponse{Results: make([]*nodev1.PodResult, len(req.GetPods()))}
	changes := make([]server.Change, 0, len(req.GetPods()))
	places := make([]int, 0, len(req.GetPods()))
	for i, report := range req.GetPods() {
		reported := &corev1.PodStatus{}
		if err := reported.Unmarshal(report.GetStatus()); err != nil {
			res.Results[i] = &nodev1.PodResult{Code: int32(codes.InvalidArgument), Message: err.Error()}
			continue
		}
		places = append(places, i)
		changes = append(changes, server.Change{Namespace: report.GetNamespace(), Name: report.GetName(), Do: func(old registry.Object) (server.Outcome, error) {
			return apply(req.GetNode(), report, reported, old.(*corev1.Pod))
		}})
	}
	for n, err := range s.objects.Batch(ctx, kindPod, changes) {
		res.Results[places[n]] = resultOf(err)
	}
	return res, nil
}

func resultOf(err error) *nodev1.PodResult {
	st := status.Convert(apierr.ToGRPC(err))
	return &nodev1.PodResult{Code: int32(st.Code()), Message: st.Message()}
}

// apply takes a report in; a pod that has ended its termination goes.
func apply(node string, report *nodev1.PodStatus, reported *corev1.PodStatus, pod *corev1.Pod) (server.Outcome, error) {
	if report.GetUid() != string(pod.UID) {
		return server.Outcome{}, apierrors.NewNotFound(corev1.Resource("pods"), pod.Name)
	}
	if pod.Spec.NodeName != node {
		return server.Outcome{}, apierrors.NewForbidden(corev1.Resource("pods"), pod.Name, fmt.Errorf("the pod is not on node %s", node))
	}
	pod.Status = mergeStatus(pod, reported)
	if report.GetTerminated() && pod.DeletionTimestamp != nil {
		grace := int64(0)
		pod.DeletionGracePeriodSeconds = &grace
		return server.Outcome{Next: pod, Remove: len(pod.Finalizers) == 0}, nil
	}
	return server.Outcome{Next: pod}, nil
}
