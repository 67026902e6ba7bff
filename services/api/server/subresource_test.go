package server_test

import (
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	systemv1 "karve.dev/karve/gen/go/karve/system/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
)

func TestBinding(t *testing.T) {
	w := newWorld(t)
	p := newPod("p")
	require.NoError(t, w.Create(w.ctx, p))
	w.bind(t, p)
	require.NoError(t, w.Get(w.ctx, p, "default", "p"))
	require.Equal(t, "n", p.Spec.NodeName)
	require.Equal(t, corev1.PodScheduled, p.Status.Conditions[0].Type)
	err := w.CreateSubresource(w.ctx, p, &corev1.Binding{ObjectMeta: named("p"), Target: corev1.ObjectReference{Name: "m"}}, "p", "binding")
	require.EqualError(t, err, `Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n"`)
	err = w.CreateSubresource(w.ctx, p, &corev1.Binding{ObjectMeta: named("q"), Target: corev1.ObjectReference{Name: "m"}}, "q", "binding")
	require.EqualError(t, err, `pods "q" not found`)
	err = w.CreateSubresource(w.ctx, p, &corev1.Binding{ObjectMeta: named("p")}, "p", "binding")
	require.ErrorContains(t, err, "target.name: Required value")
}

func TestEviction(t *testing.T) {
	w := newWorld(t)
	p := newPod("p")
	require.NoError(t, w.Create(w.ctx, p))
	require.NoError(t, w.CreateSubresource(w.ctx, p, &policyv1.Eviction{ObjectMeta: named("p")}, "p", "eviction"))
	require.True(t, apierrors.IsNotFound(w.Get(w.ctx, p, "default", "p")))
}

func TestServiceAccountTokens(t *testing.T) {
	w := newWorld(t)
	p := newPod("p")
	require.NoError(t, w.Create(w.ctx, p))
	w.bind(t, p)
	account := &corev1.ServiceAccount{ObjectMeta: named("default")}
	ask := func(cl *client.Client, spec authenticationv1.TokenRequestSpec) (string, error) {
		req := &authenticationv1.TokenRequest{Spec: spec}
		err := cl.CreateSubresource(w.ctx, account, req, "default", "token")
		return req.Status.Token, err
	}
	short := int64(5)
	_, err := ask(w.Client, authenticationv1.TokenRequestSpec{ExpirationSeconds: &short})
	require.ErrorContains(t, err, "may not specify a duration less than 10 minutes")

	bound := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: p.UID}
	token, err := ask(w.Client, authenticationv1.TokenRequestSpec{BoundObjectRef: bound})
	require.NoError(t, err)

	// The token names its account, until the pod is gone.
	as := func(token string) context.Context {
		return metadata.AppendToOutgoingContext(w.ctx, "authorization", "Bearer "+token)
	}
	nobody := apiv1.NewResourceServiceClient(w.Server.Conn(identity.User{Name: identity.UserGateway}))
	whoami := func() (string, error) {
		res, err := nobody.Create(as(token), &apiv1.CreateRequest{
			Ref:    &apiv1.ObjectRef{ApiVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"},
			Object: jsonObject(`{}`), As: inJSON(apiv1.Form_FORM_OBJECT),
		})
		if err != nil {
			return "", apierr.FromGRPC(err)
		}
		review := &authenticationv1.SelfSubjectReview{}
		err = json.Unmarshal(res.Object.Data, review)
		return review.Status.UserInfo.Username, err
	}
	name, err := whoami()
	require.NoError(t, err)
	require.Equal(t, "system:serviceaccount:default:default", name)
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	require.NoError(t, w.Create(w.ctx, review))
	require.True(t, review.Status.Authenticated, review.Status.Error)
	require.Equal(t, "system:serviceaccount:default:default", review.Status.User.Username)

	// A node gets tokens for its own pods only. Which those are, authorization learns from the cache, as the node does.
	require.NoError(t, w.Get(w.ctx, p, "default", "p"))
	require.Eventually(t, func() bool {
		_, err = ask(w.Cluster.Client(identity.User{Name: "system:node:n", Groups: []string{identity.GroupNodes}}), authenticationv1.TokenRequestSpec{BoundObjectRef: bound})
		return !apierrors.IsForbidden(err)
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, err)
	_, err = ask(w.Cluster.Client(identity.User{Name: "system:node:m", Groups: []string{identity.GroupNodes}}), authenticationv1.TokenRequestSpec{BoundObjectRef: bound})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	_, err = ask(w.Cluster.Client(identity.User{Name: "system:node:n", Groups: []string{identity.GroupNodes}}), authenticationv1.TokenRequestSpec{BoundObjectRef: bound, Audiences: []string{"vault"}})
	require.ErrorContains(t, err, `audience "vault" not found in pod spec volume`)

	now := int64(0)
	require.NoError(t, w.Delete(w.ctx, p, client.DeleteOptions{GracePeriodSeconds: &now}))
	require.True(t, apierrors.IsNotFound(w.Get(w.ctx, p, "default", "p")))
	_, err = whoami()
	require.True(t, apierrors.IsUnauthorized(err), "%v", err)
}

func TestAccessReviews(t *testing.T) {
	w := newWorld(t)
	self := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "delete", Resource: "nodes"}}}
	require.NoError(t, w.Create(w.ctx, self))
	require.True(t, self.Status.Allowed)
	other := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "jane", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "delete", Resource: "nodes"}}}
	require.NoError(t, w.Create(w.ctx, other))
	require.False(t, other.Status.Allowed)
	require.Error(t, w.Create(w.ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "jane"}}))
	rules := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}
	require.NoError(t, w.Create(w.ctx, rules))
	require.NotEmpty(t, rules.Status.ResourceRules)
}

// agent is a node's end of pod access: it echoes.
type agent struct {
	agentv1.UnimplementedPodAccessServiceServer
}

func (agent) Logs(req *agentv1.LogsRequest, stream grpc.ServerStreamingServer[agentv1.LogsResponse]) error {
	return stream.Send(&agentv1.LogsResponse{Data: []byte("log of " + req.GetPod().GetContainer())})
}

func (agent) Exec(stream grpc.BidiStreamingServer[agentv1.ExecRequest, agentv1.ExecResponse]) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return stream.Send(&agentv1.ExecResponse{Message: &agentv1.ExecResponse_Exit{Exit: &agentv1.ExecExit{Code: 3}}})
		}
		if err := stream.Send(&agentv1.ExecResponse{Message: &agentv1.ExecResponse_Stdout{Stdout: req.GetStdin()}}); err != nil {
			return err
		}
	}
}

// dialer reaches the one agent there is.
type dialer struct{ *transport.Server }

func (d dialer) DialNode(context.Context, *corev1.Node) (grpc.ClientConnInterface, error) {
	return d.Conn(identity.User{Name: identity.UserAPI}), nil
}

func TestPodAccess(t *testing.T) {
	agents := transport.NewServer(nil, nil)
	agentv1.RegisterPodAccessServiceServer(agents, agent{})
	c := apitest.Start(t, func(c *api.Config) { c.Nodes = dialer{agents} })
	w := &world{c, c.Client(apitest.Admin), nil, t.Context()}
	require.NoError(t, w.Create(w.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}))
	p := newPod("p")
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side", Image: "i"})
	require.NoError(t, w.Create(w.ctx, p))
	pods := agentv1.NewPodAccessServiceClient(c.Conn(apitest.Admin))
	logs := func(pods agentv1.PodAccessServiceClient, container string) (string, error) {
		stream, err := pods.Logs(w.ctx, &agentv1.LogsRequest{Pod: &agentv1.PodRef{Namespace: "default", Name: "p", Container: container}})
		require.NoError(t, err)
		res, err := stream.Recv()
		return string(res.GetData()), apierr.FromGRPC(err)
	}
	_, err := logs(pods, "c")
	require.ErrorIs(t, err, io.EOF, "a pod without a node has nothing to tell")
	w.bind(t, p)
	text, err := logs(pods, "side")
	require.NoError(t, err)
	require.Equal(t, "log of side", text)
	_, err = logs(pods, "")
	require.EqualError(t, err, "a container name must be specified for pod p, choose one of: [c side]")
	_, err = logs(pods, "nope")
	require.EqualError(t, err, "container nope is not valid for pod p")
	_, err = logs(agentv1.NewPodAccessServiceClient(c.Conn(identity.User{Name: "jane"})), "c")
	require.ErrorContains(t, err, `User "jane" cannot get resource "pods/log"`)

	exec, err := pods.Exec(w.ctx)
	require.NoError(t, err)
	require.NoError(t, exec.Send(&agentv1.ExecRequest{Message: &agentv1.ExecRequest_Start{Start: &agentv1.ExecStart{Pod: &agentv1.PodRef{Namespace: "default", Name: "p", Container: "c"}}}}))
	require.NoError(t, exec.Send(&agentv1.ExecRequest{Message: &agentv1.ExecRequest_Stdin{Stdin: []byte("hi")}}))
	require.NoError(t, exec.CloseSend())
	var out string
	var code int32
	for {
		res, err := exec.Recv()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		out += string(res.GetStdout())
		code = res.GetExit().GetCode()
	}
	require.Equal(t, "hi", out)
	require.Equal(t, int32(3), code)
}

func TestDiscoveryAndSystem(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	kinds, err := apiv1.NewDiscoveryServiceClient(w.Conn(apitest.Admin)).WatchKinds(ctx, &apiv1.WatchKindsRequest{})
	require.NoError(t, err)
	res, err := kinds.Recv()
	require.NoError(t, err)
	byName := map[string]*apiv1.KindInfo{}
	for _, k := range res.Kinds {
		byName[k.Group+"/"+k.Resource] = k
	}
	require.True(t, byName["apps/deployments"].Namespaced)
	require.True(t, byName["/pods"].Preferred)
	var subs []string
	for _, s := range byName["apps/deployments"].Subresources {
		subs = append(subs, s.Name)
	}
	require.Equal(t, []string{"scale", "status"}, subs)

	system := systemv1.NewSystemServiceClient(w.Conn(identity.User{Name: "jane"}))
	ready, err := system.Check(w.ctx, &systemv1.CheckRequest{Probe: "readyz"})
	require.NoError(t, err)
	for _, c := range ready.Checks {
		require.Empty(t, c.Error, c.Name)
	}
	_, err = system.GetMetrics(w.ctx, &systemv1.GetMetricsRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = system.Authorize(w.ctx, &systemv1.AuthorizeRequest{Path: "/secret", Verb: "get"})
	require.ErrorContains(t, err, `User "jane" cannot get path "/secret"`)

	health, err := healthv1.NewHealthClient(w.Conn(identity.User{})).Check(w.ctx, &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, health.Status)
}
