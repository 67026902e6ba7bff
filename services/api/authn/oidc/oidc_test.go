package oidc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/identity/oidctest"
	"karve.dev/karve/services/api/authn/oidc"
)

type claims = map[string]any

func simple(t *testing.T, i *oidctest.Issuer) *oidc.Simple {
	ca := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(ca, i.CA, 0o600))
	return &oidc.Simple{IssuerURL: i.URL, ClientID: "karve", CAFile: ca}
}

func file(t *testing.T, i *oidctest.Issuer, mappings string) string {
	at := filepath.Join(t.TempDir(), "authentication.yaml")
	write(t, at, i, mappings)
	return at
}

func write(t *testing.T, at string, i *oidctest.Issuer, mappings string) {
	text := fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: %s
    audiences: [karve, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
      %s
%s`, i.URL, strings.ReplaceAll(strings.TrimSpace(string(i.CA)), "\n", "\n      "), mappings)
	require.NoError(t, os.WriteFile(at, []byte(text), 0o600))
}

func TestAnIssuerBySettings(t *testing.T) {
	i := oidctest.New(t)
	s := simple(t, i)
	s.GroupsClaim, s.GroupsPrefix, s.RequiredClaims = "groups", "corp:", map[string]string{"hd": "example.org"}
	a, err := oidc.New(oidc.Config{Simple: s})
	require.NoError(t, err)
	require.Zero(t, i.Asked.Load(), "nothing is fetched before somebody comes")
	good := claims{"sub": "jane", "groups": []string{"devs", "ops"}, "hd": "example.org", "jti": "7"}
	u, expires, err := a.Authenticate(t.Context(), i.Token(good))
	require.NoError(t, err)
	require.Equal(t, identity.User{
		Name: i.URL + "#jane", Groups: []string{"corp:devs", "corp:ops"}, Extra: map[string][]string{identity.ExtraCredentialID: {"JTI=7"}},
	}, u)
	require.WithinDuration(t, time.Now().Add(time.Hour), expires, time.Minute)

	with := func(key string, value any) claims {
		out := claims{key: value}
		for k, v := range good {
			if k != key {
				out[k] = v
			}
		}
		return out
	}
	other := oidctest.New(t)
	for what, token := range map[string]string{
		"expired":           i.Token(with("exp", time.Now().Add(-time.Minute).Unix())),
		"for others":        i.Token(with("aud", "somebody")),
		"of another domain": i.Token(with("hd", "example.com")),
		"without a name":    i.Token(with("sub", "")),
		"of other keys":     other.Token(with("iss", i.URL)),
		"odd groups":        i.Token(with("groups", 7)),
		"noise":             "x.y.z",
	} {
		_, _, err := a.Authenticate(t.Context(), token)
		require.Error(t, err, what)
	}
	_, _, err = a.Authenticate(t.Context(), other.Token(good))
	require.ErrorIs(t, err, oidc.ErrUnknownIssuer)
}

func TestKeysAreFetchedWhenTheyAreNewAndNotWithoutBound(t *testing.T) {
	i := oidctest.New(t)
	a, err := oidc.New(oidc.Config{Simple: simple(t, i)})
	require.NoError(t, err)
	for range 3 {
		_, _, err = a.Authenticate(t.Context(), i.Token(claims{"sub": "jane"}))
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, i.Asked.Load())
	i.Rotate()
	_, _, err = a.Authenticate(t.Context(), i.Token(claims{"sub": "jane"}))
	require.NoError(t, err)
	require.EqualValues(t, 2, i.Asked.Load())
	forger := oidctest.New(t)
	for range 8 {
		forger.Rotate()
		_, _, err = a.Authenticate(t.Context(), forger.Token(claims{"sub": "jane", "iss": i.URL}))
		require.Error(t, err)
	}
	require.LessOrEqual(t, i.Asked.Load(), int32(6))
	_, _, err = a.Authenticate(t.Context(), i.Token(claims{"sub": "jane"}))
	require.NoError(t, err, "known keys are good all the while")
}

func TestEmailAddressesMustBeVerified(t *testing.T) {
	i := oidctest.New(t)
	s := simple(t, i)
	s.UsernameClaim = "email"
	a, err := oidc.New(oidc.Config{Simple: s})
	require.NoError(t, err)
	u, _, err := a.Authenticate(t.Context(), i.Token(claims{"email": "jane@example.org", "email_verified": true}))
	require.NoError(t, err)
	require.Equal(t, "jane@example.org", u.Name)
	_, _, err = a.Authenticate(t.Context(), i.Token(claims{"email": "jane@example.org", "email_verified": false}))
	require.ErrorContains(t, err, "email not verified")
}

const mappings = `  claimValidationRules:
  - expression: 'claims.exp - claims.iat <= 86400'
    message: a day is the most
  claimMappings:
    username: {expression: '"corp:" + claims.user.name'}
    groups: {expression: 'claims.roles.split(",")'}
    uid: {claim: sub}
    extra:
    - {key: example.org/tenant, valueExpression: 'claims.?tenant.orValue("")'}
  userValidationRules:
  - expression: '!user.username.startsWith("system:") && user.groups.all(g, !g.startsWith("system:"))'
    message: reserved names are not for people
`

func TestAFileMapsClaimsByExpressions(t *testing.T) {
	i := oidctest.New(t)
	a, err := oidc.New(oidc.Config{File: file(t, i, mappings)})
	require.NoError(t, err)
	token := func(roles string, more claims) string {
		all := claims{"sub": "7", "aud": "other", "roles": roles, "user": claims{"name": "jane"}}
		for k, v := range more {
			all[k] = v
		}
		return i.Token(all)
	}
	u, _, err := a.Authenticate(t.Context(), token("devs,ops", claims{"tenant": "blue"}))
	require.NoError(t, err)
	require.Equal(t, identity.User{Name: "corp:jane", UID: "7", Groups: []string{"devs", "ops"}, Extra: map[string][]string{"example.org/tenant": {"blue"}}}, u)
	_, _, err = a.Authenticate(t.Context(), token("system:masters", nil))
	require.ErrorContains(t, err, "reserved names are not for people")
	_, _, err = a.Authenticate(t.Context(), token("devs", claims{"exp": time.Now().Add(48 * time.Hour).Unix()}))
	require.ErrorContains(t, err, "a day is the most")
}

func TestAChangedFileCountsAndABrokenOneDoesNot(t *testing.T) {
	i := oidctest.New(t)
	plain := "  claimMappings: {username: {claim: sub, prefix: \"%s\"}}\n"
	at := file(t, i, fmt.Sprintf(plain, "a:"))
	token := i.Token(claims{"sub": "jane"})
	a, err := oidc.New(oidc.Config{File: at})
	require.NoError(t, err)
	is := func(name string) {
		t.Helper()
		u, _, err := a.Authenticate(t.Context(), token)
		require.NoError(t, err)
		require.Equal(t, name, u.Name)
	}
	is("a:jane")
	write(t, at, i, fmt.Sprintf(plain, "longer:"))
	is("a:jane")
	oidc.LookAgain(a)
	is("longer:jane")
	require.NoError(t, os.WriteFile(at, []byte("nonsense"), 0o600))
	oidc.LookAgain(a)
	is("longer:jane")
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	i := oidctest.New(t)
	for what, text := range map[string]string{
		"no username":       "  claimMappings: {}\n",
		"a bad expression":  "  claimMappings: {username: {expression: 'claims.'}}\n",
		"an unknown field":  "  claimMappings: {username: {claim: sub, prefix: \"\"}}\n  nonsense: 1\n",
		"not its own house": "  claimMappings: {username: {claim: sub, prefix: \"\"}}\n- issuer: {url: 'https://kubernetes.default.svc.cluster.local', audiences: [x]}\n  claimMappings: {username: {claim: sub, prefix: \"\"}}\n",
	} {
		_, err := oidc.New(oidc.Config{File: file(t, i, text), OwnIssuers: []string{identity.DefaultIssuer}})
		require.Error(t, err, what)
	}
	_, err := oidc.New(oidc.Config{Simple: &oidc.Simple{IssuerURL: "http://example.org", ClientID: "x"}})
	require.ErrorContains(t, err, "URL scheme must be https")
}

func TestAnonymousCallersMayBeKeptToSomePaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := filepath.Join(t.TempDir(), "authentication.yaml")
		require.NoError(t, os.WriteFile(at, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n"), 0o600))
		a, err := oidc.New(oidc.Config{File: at})
		require.NoError(t, err)
		require.True(t, a.Anonymous("/livez"))
		require.False(t, a.Anonymous("/api"))
		require.NoError(t, os.WriteFile(at, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: false}\n"), 0o600))
		time.Sleep(time.Minute)
		require.False(t, a.Anonymous("/livez"))
	})
}
