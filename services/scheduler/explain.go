package scheduler

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"

	schedulerv1 "karve.dev/karve/gen/go/karve/scheduler/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

// question asks the loop, which owns the snapshot.
type question struct {
	pod    *corev1.Pod
	answer chan *schedulerv1.ExplainResponse
}

// Explain says, per node, why a pod does not fit or how it scores, as things stand now.
func (s *Scheduler) Explain(ctx context.Context, req *schedulerv1.ExplainRequest) (*schedulerv1.ExplainResponse, error) {
	if err := s.mayRead(ctx, req.GetNamespace(), req.GetName()); err != nil {
		return nil, err
	}
	pod, ok := s.pods.Get(req.GetNamespace(), req.GetName())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "pods %q not found in namespace %q", req.GetName(), req.GetNamespace())
	}
	q := question{pod: pod, answer: make(chan *schedulerv1.ExplainResponse, 1)}
	select {
	case s.questions <- q:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return <-q.answer, nil
}

// mayRead asks the API whether the caller may get the pod: an explanation shows as much.
func (s *Scheduler) mayRead(ctx context.Context, namespace, name string) error {
	user, ok := identity.UserFrom(ctx)
	if !ok {
		if user, ok = identity.Peer(ctx); !ok {
			return status.Error(codes.Unauthenticated, "Explain needs a client certificate or a token")
		}
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Name, Groups: user.Groups, UID: user.UID,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Name: name, Verb: "get", Resource: "pods", Version: "v1"},
	}}
	if err := s.cfg.Client.Create(ctx, review); err != nil {
		return apierr.ToGRPC(err)
	}
	if !review.Status.Allowed {
		return status.Errorf(codes.PermissionDenied, "pods %q is forbidden: user %q cannot get resource \"pods\" in the namespace %q", name, user.Name, namespace)
	}
	return nil
}

// explain runs in the loop.
func (s *Scheduler) explain(obj *corev1.Pod) *schedulerv1.ExplainResponse {
	out := &schedulerv1.ExplainResponse{Node: obj.Spec.NodeName}
	pod := snapshot.NewPod(obj)
	if out.Node != "" {
		// As if it were to be placed now: it must not count against itself.
		s.snap.Remove(obj.UID)
		defer func() { s.snap.Place(pod, obj.Spec.NodeName) }()
	}
	refused := framework.Refuse(s.plugins, s.snap, pod)
	reasons := map[*snapshot.Node][]*schedulerv1.Reason{}
	var verdicts []framework.Verdict
	framework.Explain(s.plugins, s.snap, pod, func(n *snapshot.Node, plugin string, r *framework.Reason) {
		if len(reasons[n]) == 0 {
			verdicts = append(verdicts, framework.Verdict{Node: n, Plugin: plugin, Reasons: []*framework.Reason{r}})
		}
		reasons[n] = append(reasons[n], &schedulerv1.Reason{Plugin: plugin, Message: r.Message, Counterfactual: r.Counterfactual})
	})
	nodes := s.snap.Nodes()
	scores := framework.Scores(s.plugins, s.snap, pod, nodes)
	for i, n := range nodes {
		v := &schedulerv1.NodeVerdict{Node: n.Name, Reasons: reasons[n]}
		if refused != nil {
			r := refused.Reasons[0]
			v.Reasons = append([]*schedulerv1.Reason{{Plugin: refused.Plugin, Message: r.Message, Counterfactual: r.Counterfactual}}, v.Reasons...)
		}
		if len(v.Reasons) == 0 {
			v.Score = scores[i]
		}
		out.Nodes = append(out.Nodes, v)
	}
	switch {
	case out.Node != "":
		out.Summary = "Successfully assigned " + obj.Namespace + "/" + obj.Name + " to " + out.Node
	case refused != nil || len(verdicts) == len(nodes):
		d := framework.Decision{Refused: refused, Verdicts: verdicts}
		out.Summary = d.Summary(len(nodes))
	default:
		out.Summary = "the pod fits and is about to be scheduled"
	}
	return out
}
