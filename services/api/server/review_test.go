package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/authn"
)

func TestAccessReviewsTakeSelectors(t *testing.T) {
	w := newWorld(t)
	type requirements = []metav1.FieldSelectorRequirement
	in := func(key string, values ...string) metav1.FieldSelectorRequirement {
		return metav1.FieldSelectorRequirement{Key: key, Operator: metav1.FieldSelectorOpIn, Values: values}
	}
	for what, c := range map[string]struct {
		selector *authorizationv1.FieldSelectorAttributes
		allowed  bool
		note     string
	}{
		"its own pods":            {&authorizationv1.FieldSelectorAttributes{RawSelector: "spec.nodeName=n"}, true, ""},
		"its own, spelled out":    {&authorizationv1.FieldSelectorAttributes{Requirements: requirements{in("spec.nodeName", "n")}}, true, ""},
		"another's":               {&authorizationv1.FieldSelectorAttributes{RawSelector: "spec.nodeName=m"}, false, ""},
		"all":                     {nil, false, ""},
		"its own and something":   {&authorizationv1.FieldSelectorAttributes{Requirements: requirements{in("spec.nodeName", "n"), in("x", "1", "2")}}, true, "spec.resourceAttributes.fieldSelector partially ignored due to parse error"},
		"what nobody understands": {&authorizationv1.FieldSelectorAttributes{RawSelector: "a in b"}, false, "spec.resourceAttributes.fieldSelector ignored due to parse error"},
	} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:node:n", Groups: []string{identity.GroupNodes},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Version: "v1", Resource: "pods", FieldSelector: c.selector},
		}}
		require.NoError(t, w.Create(w.ctx, review), what)
		require.Equal(t, c.allowed, review.Status.Allowed, what)
		require.Equal(t, c.note, review.Status.EvaluationError, what)
	}
	for what, bad := range map[string]*authorizationv1.ResourceAttributes{
		"both":              {Verb: "list", Resource: "pods", FieldSelector: &authorizationv1.FieldSelectorAttributes{RawSelector: "a=b", Requirements: requirements{in("a", "b")}}},
		"neither":           {Verb: "list", Resource: "pods", LabelSelector: &authorizationv1.LabelSelectorAttributes{}},
		"In without values": {Verb: "list", Resource: "pods", FieldSelector: &authorizationv1.FieldSelectorAttributes{Requirements: requirements{in("a")}}},
	} {
		err := w.Create(w.ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: bad}})
		require.ErrorContains(t, err, "spec.resourceAttributes.", what)
	}
}

func TestALocalReviewIsAboutItsNamespace(t *testing.T) {
	w := newWorld(t)
	review := func(namespace string) error {
		return w.Create(w.ctx, &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}, Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "jane", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: namespace},
		}})
	}
	require.NoError(t, review("default"))
	require.ErrorContains(t, review("other"), `spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace`)
}

func TestReviewsSayWhatGrantsARight(t *testing.T) {
	w := newWorld(t)
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:kube-scheduler", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "create", Version: "v1", Resource: "pods", Subresource: "binding", Namespace: "default"},
	}}
	require.NoError(t, w.Create(w.ctx, review))
	require.Equal(t, `RBAC: allowed by ClusterRoleBinding "system:kube-scheduler" of ClusterRole "system:kube-scheduler" to User "system:kube-scheduler"`, review.Status.Reason)
	me := &authenticationv1.SelfSubjectReview{}
	require.NoError(t, w.Cluster.Client(identity.User{Name: "jane", UID: "7", Groups: []string{"devs"}, Extra: map[string][]string{"x": {"y"}}}).Create(w.ctx, me))
	require.Equal(t, authenticationv1.UserInfo{Username: "jane", UID: "7", Groups: []string{"devs", "system:authenticated"}, Extra: map[string]authenticationv1.ExtraValue{"x": {"y"}}}, me.Status.UserInfo)
}

func TestTokenReviewsAnswerAudiences(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.Create(w.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"},
	}))
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"vault", identity.DefaultIssuer}}}
	require.NoError(t, w.CreateSubresource(w.ctx, &corev1.ServiceAccount{ObjectMeta: named("default")}, request, "default", "token"))
	for what, c := range map[string]struct {
		token           string
		asked, answered []string
		failure         string
	}{
		"an account's, for the API":         {request.Status.Token, nil, []string{identity.DefaultIssuer}, ""},
		"an account's, for another":         {request.Status.Token, []string{"other", "vault"}, []string{"vault"}, ""},
		"an account's, for a stranger":      {request.Status.Token, []string{"other"}, nil, authn.ErrAudience.Error()},
		"one that names none":               {"abcdef.0123456789abcdef", nil, []string{identity.DefaultIssuer}, ""},
		"one that names none, for another":  {"abcdef.0123456789abcdef", []string{"vault"}, nil, authn.ErrAudience.Error()},
		"one that names none, for the API":  {"abcdef.0123456789abcdef", []string{"vault", identity.DefaultIssuer}, []string{identity.DefaultIssuer}, ""},
		"one that was made up by its owner": {"abcdef.0123456789abcdeX", nil, nil, "issued"},
	} {
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: c.token, Audiences: c.asked}}
		require.NoError(t, w.Create(w.ctx, review), what)
		require.Equal(t, c.answered, review.Status.Audiences, what)
		require.Equal(t, c.failure == "", review.Status.Authenticated, what)
		require.Contains(t, review.Status.Error, c.failure, what)
	}
}

func TestTheAPIMayHaveAudiencesOfItsOwn(t *testing.T) {
	c := apitest.Start(t, func(c *api.Config) { c.Audiences = []string{"karve", "old-name"} })
	admin := c.Client(apitest.Admin)
	ask := func(audiences ...string) string {
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
		require.NoError(t, admin.CreateSubresource(t.Context(), &corev1.ServiceAccount{ObjectMeta: named("default")}, request, "default", "token"))
		return request.Status.Token
	}
	for token, good := range map[string]bool{ask(): true, ask("old-name"): true, ask(identity.DefaultIssuer): false} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		err := c.Client(identity.User{}).Create(ctx, &authenticationv1.SelfSubjectReview{})
		require.Equal(t, good, err == nil, "%v", err)
	}
}

func TestNobodyMayBeRefusedAltogether(t *testing.T) {
	c := apitest.Start(t, func(c *api.Config) { c.NoAnonymous = true })
	gateway := c.Client(identity.User{Name: identity.UserGateway})
	err := gateway.Create(t.Context(), &authenticationv1.SelfSubjectReview{})
	require.True(t, apierrors.IsUnauthorized(err), "%v", err)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-remote-user", "jane")
	require.NoError(t, gateway.Create(ctx, &authenticationv1.SelfSubjectReview{}))
}
