package authn

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
)

// world is what tokens are bound to: kind and name to uid.
type world struct {
	uids    map[string]string
	deleted map[string]*time.Time
	secrets map[string]*corev1.Secret
}

func (w *world) Lookup(_ context.Context, kind, namespace, name string) (string, *time.Time, bool, error) {
	key := kind + "/" + namespace + "/" + name
	uid, ok := w.uids[key]
	return uid, w.deleted[key], ok, nil
}

func (w *world) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	return w.secrets[namespace+"/"+name], nil
}

var robot = identity.TokenSpec{
	Namespace: "team", ServiceAccount: identity.Ref{Name: "robot", UID: "1"}, Pod: &identity.Ref{Name: "web", UID: "2"},
	Audiences: []string{identity.DefaultIssuer}, Life: time.Hour,
}

func newWorld() *world {
	return &world{
		uids:    map[string]string{"ServiceAccount/team/robot": "1", "Pod/team/web": "2"},
		deleted: map[string]*time.Time{}, secrets: map[string]*corev1.Secret{},
	}
}

func authenticator(t testing.TB, dir string, w *world) (*Authenticator, *identity.Tokens) {
	t.Helper()
	c, err := identity.LoadOrCreate(dir, identity.Options{})
	require.NoError(t, err)
	tokens, err := c.Tokens()
	require.NoError(t, err)
	return New(Config{Tokens: c.Tokens, Objects: w}), tokens
}

func call(peer *identity.User, pairs ...string) context.Context {
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(pairs...))
	if peer != nil {
		ctx = identity.WithPeer(ctx, *peer)
	}
	return ctx
}

func TestWhoCalls(t *testing.T) {
	a, tokens := authenticator(t, t.TempDir(), newWorld())
	token, _, err := tokens.Sign(robot)
	require.NoError(t, err)
	gateway := &identity.User{Name: identity.UserGateway}
	scheduler := &identity.User{Name: identity.UserScheduler, Groups: []string{"g"}}
	for _, c := range []struct {
		what   string
		ctx    context.Context
		name   string
		groups []string
	}{
		{"nobody", call(nil), "system:anonymous", []string{"system:unauthenticated"}},
		{"a certificate", call(scheduler), identity.UserScheduler, []string{"g", "system:authenticated"}},
		{"the gateway's client", call(gateway, "x-remote-user", "jane", "x-remote-group", "a", "x-remote-group", "b"), "jane", []string{"a", "b", "system:authenticated"}},
		{"the gateway's client without a certificate", call(gateway), "system:anonymous", []string{"system:unauthenticated"}},
		{"somebody who plays gateway", call(scheduler, "x-remote-user", "root", "x-remote-group", "system:masters"), identity.UserScheduler, []string{"g", "system:authenticated"}},
		{"nobody who plays gateway", call(nil, "x-remote-user", "root"), "system:anonymous", []string{"system:unauthenticated"}},
		{"a token before the certificate", call(scheduler, "authorization", "Bearer "+token), "system:serviceaccount:team:robot", []string{"system:serviceaccounts", "system:serviceaccounts:team", "system:authenticated"}},
		{"another scheme", call(nil, "authorization", "Basic eDp5"), "system:anonymous", []string{"system:unauthenticated"}},
	} {
		u, err := a.Authenticate(c.ctx)
		require.NoError(t, err, c.what)
		require.Equal(t, c.name, u.Name, c.what)
		require.Equal(t, c.groups, u.Groups, c.what)
	}
	_, err = a.Authenticate(call(gateway, "x-remote-user", "jane", "authorization", "Bearer "+token+"x"))
	require.True(t, apierrors.IsUnauthorized(err), "a bad token is no reason to look further")
	u, err := a.Authenticate(call(gateway, "x-remote-user", "jane", "x-remote-uid", "7", "x-remote-extra-acme.io%2fteam", "x"))
	require.NoError(t, err)
	require.Equal(t, "7", u.UID)
	require.Equal(t, map[string][]string{"acme.io/team": {"x"}}, u.Extra)
}

func TestTokensEndWithWhatTheyAreBoundTo(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a, tokens := authenticator(t, dir, w)
		token, _, err := tokens.Sign(robot)
		require.NoError(t, err)
		ctx := call(nil, "authorization", "Bearer "+token)
		good := func() bool {
			_, err := a.Authenticate(ctx)
			require.True(t, err == nil || apierrors.IsUnauthorized(err))
			return err == nil
		}
		require.True(t, good())
		now := time.Now()
		w.deleted["Pod/team/web"] = &now
		require.True(t, good(), "a pod that shuts down")
		time.Sleep(2 * time.Minute)
		require.False(t, good(), "it should have")
		delete(w.deleted, "Pod/team/web")
		require.True(t, good())
		w.uids["Pod/team/web"] = "3"
		require.False(t, good(), "another pod of that name")
		w.uids["Pod/team/web"] = "2"
		delete(w.uids, "ServiceAccount/team/robot")
		require.False(t, good(), "no service account")
		w.uids["ServiceAccount/team/robot"] = "1"
		require.True(t, good())
		time.Sleep(time.Hour)
		require.False(t, good(), "it has expired, also in the cache")

		spec := robot
		spec.Audiences = []string{"vault"}
		token, _, err = tokens.Sign(spec)
		require.NoError(t, err)
		_, err = a.Authenticate(call(nil, "authorization", "Bearer "+token))
		require.True(t, apierrors.IsUnauthorized(err), "a token for others")
		u, audiences, err := a.ReviewToken(t.Context(), token, []string{"vault", "other"})
		require.NoError(t, err)
		require.Equal(t, []string{"vault"}, audiences)
		require.Equal(t, "system:serviceaccount:team:robot", u.Name)
		_, _, err = a.ReviewToken(t.Context(), token, nil)
		require.ErrorIs(t, err, ErrAudience)
	})
}

func TestBootstrapTokens(t *testing.T) {
	w := newWorld()
	a, _ := authenticator(t, t.TempDir(), w)
	stored := &corev1.Secret{Type: corev1.SecretTypeBootstrapToken, Data: map[string][]byte{
		"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
		"auth-extra-groups": []byte("system:bootstrappers:karve"), "expiration": []byte(time.Now().Add(time.Hour).UTC().Format(time.RFC3339)),
	}}
	w.secrets["kube-system/bootstrap-token-abcdef"] = stored
	ctx := call(nil, "authorization", "Bearer abcdef.0123456789abcdef")
	u, err := a.Authenticate(ctx)
	require.NoError(t, err)
	require.Equal(t, "system:bootstrap:abcdef", u.Name)
	require.Equal(t, []string{"system:bootstrappers", "system:bootstrappers:karve", "system:authenticated"}, u.Groups)
	for what, change := range map[string]func(s *corev1.Secret){
		"another secret":  func(s *corev1.Secret) { s.Data["token-secret"] = []byte("0123456789abcdeX") },
		"expired":         func(s *corev1.Secret) { s.Data["expiration"] = []byte("2020-01-01T00:00:00Z") },
		"not for this":    func(s *corev1.Secret) { delete(s.Data, "usage-bootstrap-authentication") },
		"a group of ours": func(s *corev1.Secret) { s.Data["auth-extra-groups"] = []byte("system:masters") },
		"another type":    func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque },
	} {
		w.secrets["kube-system/bootstrap-token-abcdef"] = stored.DeepCopy()
		change(w.secrets["kube-system/bootstrap-token-abcdef"])
		_, err := a.Authenticate(ctx)
		require.True(t, apierrors.IsUnauthorized(err), what)
	}
}

func TestImpersonation(t *testing.T) {
	az := authz.New(authz.Config{})
	az.Update(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "imp"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"users"}, ResourceNames: []string{"jane"}},
		{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"groups"}, ResourceNames: []string{"devs"}},
	}})
	az.Update(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "imp"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "imp"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "bob"}}})
	bob, root := identity.User{Name: "bob"}, identity.User{Name: "root", Groups: []string{identity.GroupMasters}}
	u, err := Impersonate(call(nil), az, bob)
	require.NoError(t, err)
	require.Equal(t, bob, u)
	u, err = Impersonate(call(nil, "impersonate-user", "jane", "impersonate-group", "devs"), az, bob)
	require.NoError(t, err)
	require.Equal(t, identity.User{Name: "jane", Groups: []string{"devs", "system:authenticated"}}, u)
	_, err = Impersonate(call(nil, "impersonate-user", "jane", "impersonate-group", "system:masters"), az, bob)
	require.True(t, apierrors.IsForbidden(err))
	require.EqualError(t, err, `groups "system:masters" is forbidden: User "bob" cannot impersonate resource "groups" in API group "" at the cluster scope`)
	_, err = Impersonate(call(nil, "impersonate-user", "jane", "impersonate-extra-scope", "x"), az, bob)
	require.True(t, apierrors.IsForbidden(err))
	_, err = Impersonate(call(nil, "impersonate-group", "devs"), az, bob)
	require.True(t, apierrors.IsBadRequest(err))
	u, err = Impersonate(call(nil, "impersonate-user", "system:serviceaccount:team:robot"), az, root)
	require.NoError(t, err)
	require.Equal(t, []string{"system:serviceaccounts", "system:serviceaccounts:team", "system:authenticated"}, u.Groups)
	u, err = Impersonate(call(nil, "impersonate-user", "system:anonymous"), az, root)
	require.NoError(t, err)
	require.Equal(t, []string{"system:unauthenticated"}, u.Groups)
}

func BenchmarkAuthenticate(b *testing.B) {
	a, tokens := authenticator(b, b.TempDir(), newWorld())
	token, _, err := tokens.Sign(robot)
	require.NoError(b, err)
	for name, ctx := range map[string]context.Context{
		"token":   call(nil, "authorization", "Bearer "+token),
		"gateway": call(&identity.User{Name: identity.UserGateway}, "x-remote-user", "jane", "x-remote-group", "a"),
		"peer":    call(&identity.User{Name: identity.UserScheduler}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// elsewhere is an issuer that knows one token.
type elsewhere struct {
	asked   int
	expires time.Time
}

func (e *elsewhere) Authenticate(_ context.Context, token string) (identity.User, time.Time, error) {
	e.asked++
	if token != "a.good.token" {
		return identity.User{}, time.Time{}, errors.New("never heard of it")
	}
	return identity.User{Name: "https://id.example.org#jane"}, e.expires, nil
}

func TestTokensOfOtherIssuers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		own, tokens := authenticator(t, dir, newWorld())
		issuer := &elsewhere{expires: time.Now().Add(15 * time.Second)}
		a := New(Config{Tokens: own.config.Tokens, Objects: newWorld(), Issuers: issuer})
		ctx := call(nil, "authorization", "Bearer a.good.token")
		for range 3 {
			u, err := a.Authenticate(ctx)
			require.NoError(t, err)
			require.Equal(t, identity.User{Name: "https://id.example.org#jane", Groups: []string{"system:authenticated"}}, u)
		}
		require.Equal(t, 1, issuer.asked, "its word counts for a moment")
		time.Sleep(outsideLife)
		_, err := a.Authenticate(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, issuer.asked)
		_, err = a.Authenticate(call(nil, "authorization", "Bearer a.bad.token"))
		require.True(t, apierrors.IsUnauthorized(err))

		u, audiences, err := a.ReviewToken(t.Context(), "a.good.token", []string{"vault", identity.DefaultIssuer})
		require.NoError(t, err)
		require.Equal(t, "https://id.example.org#jane", u.Name)
		require.Equal(t, []string{identity.DefaultIssuer}, audiences, "such a token is for the API")
		_, _, err = a.ReviewToken(t.Context(), "a.good.token", []string{"vault"})
		require.ErrorIs(t, err, ErrAudience)

		asked := issuer.asked
		token, _, err := tokens.Sign(robot)
		require.NoError(t, err)
		_, err = a.Authenticate(call(nil, "authorization", "Bearer "+token))
		require.NoError(t, err)
		require.Equal(t, asked, issuer.asked, "nobody else is asked about the cluster's own")
	})
}
