package gateway_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/audit"
	"karve.dev/karve/services/gateway"
)

// TestOthersVerifyServiceAccountTokens does what a service does that takes a cluster's tokens and asks no TokenReview.
func TestOthersVerifyServiceAccountTokens(t *testing.T) {
	c := apitest.Start(t)
	w := &world{keys: pkiOf(t, c.Identity)}
	w.url = serve(t, c.Server, w.keys)
	w.http = w.keys.httpClient(t, false, true)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"vault", identity.DefaultIssuer}}}
	require.NoError(t, c.Client(apitest.Admin).CreateSubresource(t.Context(), account, request, "default", "token"))
	token := request.Status.Token

	res, _ := w.do(t, "GET", "/openid/v1/jwks", "")
	require.Equal(t, 403, res.StatusCode, "anybody may not, unless somebody says so")
	res, text := w.do(t, "GET", "/.well-known/openid-configuration", "", "Authorization: Bearer "+token)
	require.Equal(t, 200, res.StatusCode, text)
	require.Equal(t, "application/json", res.Header.Get("Content-Type"))
	var said struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &said))
	require.Equal(t, identity.DefaultIssuer, said.Issuer)
	require.Equal(t, identity.DefaultIssuer+"/openid/v1/jwks", said.JWKSURI)
	res, text = w.do(t, "GET", "/openid/v1/jwks", "", "Authorization: Bearer "+token)
	require.Equal(t, "application/jwk-set+json", res.Header.Get("Content-Type"))
	var keys jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal([]byte(text), &keys))
	known := &oidc.StaticKeySet{}
	for _, k := range keys.Keys {
		known.PublicKeys = append(known.PublicKeys, k.Key)
	}
	verified, err := oidc.NewVerifier(said.Issuer, known, &oidc.Config{ClientID: "vault", SupportedSigningAlgs: []string{"ES256"}}).Verify(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, "system:serviceaccount:default:default", verified.Subject)
	res, _ = w.do(t, "GET", "/openid/v1/other", "", "Authorization: Bearer "+token)
	require.Equal(t, 403, res.StatusCode)
}

// TestRequestsAreRecordedAsTheyCame follows a request's identifier, path and client through the gateway into the record.
func TestRequestsAreRecordedAsTheyCame(t *testing.T) {
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	require.NoError(t, os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"), 0o600))
	c := apitest.Start(t, func(c *api.Config) { c.Audit = &audit.Config{PolicyFile: policy, Path: log} })
	w := &world{keys: pkiOf(t, c.Identity)}
	w.url = serve(t, c.Server, w.keys, func(c *gateway.Config) { c.Audit = true })
	w.http = w.keys.httpClient(t, true, true)

	record := func(id string) (out []map[string]any) {
		require.Eventually(t, func() bool {
			out = nil
			raw, _ := os.ReadFile(log)
			for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
				var one map[string]any
				if json.Unmarshal([]byte(line), &one) == nil && one["auditID"] == id {
					out = append(out, one)
				}
			}
			return len(out) > 0
		}, 5*time.Second, 5*time.Millisecond)
		return out
	}
	res, _ := w.do(t, "GET", "/api/v1/namespaces/default/secrets?limit=5", "", "Audit-Id: my-own", "User-Agent: somebody/1.0", "X-Forwarded-For: 192.0.2.1, 192.0.2.2")
	require.Equal(t, "my-own", res.Header.Get("Audit-Id"))
	one := record("my-own")[0]
	require.Equal(t, "/api/v1/namespaces/default/secrets?limit=5", one["requestURI"])
	require.Equal(t, "list", one["verb"])
	require.Equal(t, "somebody/1.0", one["userAgent"])
	require.Equal(t, []any{"192.0.2.1", "192.0.2.2", "127.0.0.1"}, one["sourceIPs"])
	require.Equal(t, "kubernetes-admin", one["user"].(map[string]any)["username"])

	res, _ = w.do(t, "GET", "/metrics", "")
	require.Equal(t, 200, res.StatusCode)
	all := record(res.Header.Get("Audit-Id"))
	require.Len(t, all, 1, "a request is one record")
	require.Equal(t, "/metrics", all[0]["requestURI"])
	res, _ = w.do(t, "GET", "/api/v1/namespaces/default/secrets/none", "")
	require.EqualValues(t, 404, record(res.Header.Get("Audit-Id"))[0]["responseStatus"].(map[string]any)["code"])
}

// TestExtraFieldsCrossProcesses impersonates somebody with an extra field whose key no gRPC metadata could have.
func TestExtraFieldsCrossProcesses(t *testing.T) {
	c := apitest.Start(t)
	w := &world{keys: pkiOf(t, c.Identity)}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- c.Server.Serve(ctx, lis, c.Identity.ServerTLS(identity.Spec{CommonName: "api", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}))
	}()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	conn, err := transport.Dial(lis.Addr().String(), c.Identity.ClientTLS(gatewayUser))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	w.url = serve(t, c.Server, w.keys, func(c *gateway.Config) { c.API = conn })
	w.http = w.keys.httpClient(t, true, true)
	res, body := w.do(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`,
		"Content-Type: application/json", "Impersonate-User: jane", "Impersonate-Extra-Acme.io%2Fteam: blue", "Impersonate-Extra-Plain: x")
	require.Equal(t, 201, res.StatusCode, body)
	var review authenticationv1.SelfSubjectReview
	require.NoError(t, json.Unmarshal([]byte(body), &review))
	require.Equal(t, map[string]authenticationv1.ExtraValue{"acme.io/team": {"blue"}, "plain": {"x"}}, review.Status.UserInfo.Extra)
}
