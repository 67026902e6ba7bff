package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"karve.dev/karve/integration/cluster"
	settings "karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity/oidctest"
)

const accessPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
- level: RequestResponse
  namespaces: [default]
  resources: [{group: "", resources: [configmaps]}]
- level: None
`

// TestWhoCallsAndWhatIsRecorded is about everybody who is not the administrator: people by an OpenID Connect issuer and by
// certificates, programs by tokens, nodes that join; and about the record of what they do.
func TestWhoCallsAndWhatIsRecorded(t *testing.T) {
	dir := t.TempDir()
	policy, log, ca := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log"), filepath.Join(dir, "issuer.crt")
	issuer := oidctest.New(t)
	require.NoError(t, os.WriteFile(policy, []byte(accessPolicy), 0o600))
	require.NoError(t, os.WriteFile(ca, issuer.CA, 0o600))
	c := cluster.Start(t, "--audit-policy-file", policy, "--audit-log-path", log,
		"--oidc-issuer-url", issuer.URL, "--oidc-client-id", "karve", "--oidc-ca-file", ca, "--oidc-groups-claim", "groups", "--oidc-groups-prefix", "corp:")

	t.Run("a token of an issuer", func(t *testing.T) {
		token := issuer.Token(map[string]any{"sub": "jane", "groups": []string{"devs"}})
		out := c.Kubectl("auth", "whoami", "--token", token)
		require.Contains(t, out, issuer.URL+"#jane")
		require.Contains(t, out, "corp:devs")
		require.Contains(t, c.KubectlFails("", "get", "pods", "--token", token), "Forbidden")
		c.Kubectl("create", "clusterrolebinding", "devs", "--clusterrole=view", "--group=corp:devs")
		c.Eventually("the group has its rights", func() string {
			out, _ := c.TryKubectl("", "get", "pods", "--token", token)
			return strings.TrimPrefix(strings.TrimSpace(out), "No resources found in default namespace.")
		})
		require.Contains(t, c.KubectlFails("", "auth", "whoami", "--token", token+"x"), "Unauthorized")
	})
	t.Run("a certificate by request", func(t *testing.T) { certificateByRequest(t, c) })
	t.Run("a token in a Secret", func(t *testing.T) { tokenInSecret(t, c) })
	t.Run("a bootstrap token", func(t *testing.T) {
		c.Apply(`
apiVersion: v1
kind: Secret
metadata: {namespace: kube-system, name: bootstrap-token-abcdef}
type: bootstrap.kubernetes.io/token
stringData: {token-id: abcdef, token-secret: 0123456789abcdef, usage-bootstrap-authentication: "true", usage-bootstrap-signing: "true"}
`)
		c.Eventually("the token is known", func() string {
			out, _ := c.TryKubectl("", "auth", "whoami", "--token", "abcdef.0123456789abcdef")
			return missing(out, "system:bootstrap:abcdef", "system:bootstrappers")
		})
		c.Eventually("it vouches for the cluster", func() string {
			return missing(c.Kubectl("get", "configmap", "-n", "kube-public", "cluster-info", "-o", "yaml"), "jws-kubeconfig-abcdef: eyJ")
		})
	})
	t.Run("how others verify tokens", func(t *testing.T) {
		require.Contains(t, c.Kubectl("get", "--raw", "/.well-known/openid-configuration"), `"jwks_uri"`)
		require.Contains(t, c.Kubectl("get", "--raw", "/openid/v1/jwks"), `"alg":"ES256"`)
	})
	t.Run("the record", func(t *testing.T) { whatIsRecorded(t, c, log) })
}

// TestAccessWithEveryPartAsItsOwnProcess shows that certificates are signed, Secrets filled and calls recorded where the
// keys, the controllers and HTTP are in processes of their own.
func TestAccessWithEveryPartAsItsOwnProcess(t *testing.T) {
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	require.NoError(t, os.WriteFile(policy, []byte(accessPolicy), 0o600))
	p := cluster.StartProcesses(t, func(s *settings.Settings) {
		s.Access.Audit = settings.Audit{PolicyFile: policy, LogPath: log}
	})
	p.Eventually("the cluster answers", func() string {
		out, err := p.TryKubectl("", "get", "serviceaccount", "default")
		if err != nil {
			return out
		}
		return ""
	})
	certificateByRequest(t, p.Cluster)
	tokenInSecret(t, p.Cluster)
	whatIsRecorded(t, p.Cluster, log)
}

func missing(text string, wanted ...string) string {
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			return fmt.Sprintf("%q is missing in:\n%s", w, text)
		}
	}
	return ""
}

func certificateByRequest(t *testing.T, c *cluster.Cluster) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "bob", Organization: []string{"ops"}}}, key)
	require.NoError(t, err)
	request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	c.Apply(fmt.Sprintf(`
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: bob}
spec: {signerName: kubernetes.io/kube-apiserver-client, expirationSeconds: 3600, usages: [client auth], request: %s}
`, base64.StdEncoding.EncodeToString(request)))
	require.Regexp(t, `(?m)^bob\s+\S+\s+kubernetes.io/kube-apiserver-client\s+kubernetes-admin\s+60m\s+Pending`, c.Kubectl("get", "csr"))
	require.Contains(t, c.Kubectl("certificate", "approve", "bob"), "approved")
	var certificate string
	c.Eventually("the certificate is there", func() string {
		certificate = c.Kubectl("get", "csr", "bob", "-o", "jsonpath={.status.certificate}")
		if certificate == "" {
			return c.Kubectl("get", "csr", "bob", "-o", "yaml")
		}
		return ""
	})
	require.Regexp(t, `(?m)^bob\s.*Approved,Issued`, c.Kubectl("get", "csr"))
	cert, err := base64.StdEncoding.DecodeString(certificate)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bob.crt"), cert, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bob.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	c.Kubectl("config", "set-credentials", "bob", "--client-certificate", filepath.Join(dir, "bob.crt"), "--client-key", filepath.Join(dir, "bob.key"), "--embed-certs")
	who := c.Kubectl("auth", "whoami", "--user", "bob")
	require.Empty(t, missing(who, "bob", "ops", "system:authenticated"))
	require.Contains(t, c.KubectlFails("", "get", "pods", "--user", "bob"), `User "bob" cannot list resource "pods"`)
	c.Kubectl("create", "rolebinding", "bob", "--clusterrole=view", "--user=bob")
	c.Eventually("he has his rights", func() string {
		out, _ := c.TryKubectl("", "auth", "can-i", "list", "pods", "--user", "bob")
		return strings.TrimPrefix(strings.TrimSpace(out), "yes")
	})
	c.Kubectl("get", "pods", "--user", "bob")
}

func tokenInSecret(t *testing.T, c *cluster.Cluster) {
	c.Apply(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
---
apiVersion: v1
kind: Secret
metadata: {name: robot-token, annotations: {kubernetes.io/service-account.name: robot}}
type: kubernetes.io/service-account-token
`)
	read := func(field string) string {
		raw, err := base64.StdEncoding.DecodeString(c.Kubectl("get", "secret", "robot-token", "-o", "jsonpath={.data."+field+"}"))
		require.NoError(t, err)
		return string(raw)
	}
	c.Eventually("the Secret is filled", func() string {
		if read("token") == "" {
			return c.Kubectl("get", "secret", "robot-token", "-o", "yaml")
		}
		return ""
	})
	require.Equal(t, "default", read("namespace"))
	require.Contains(t, read(`ca\.crt`), "BEGIN CERTIFICATE")
	token := read("token")
	require.Contains(t, c.Kubectl("auth", "whoami", "--token", token), "system:serviceaccount:default:robot")
	require.Contains(t, c.Kubectl("describe", "secret", "robot-token"), "Type:  kubernetes.io/service-account-token")
	c.Kubectl("delete", "serviceaccount", "robot")
	c.Eventually("the Secret goes with its account", func() string {
		out, err := c.TryKubectl("", "get", "secret", "robot-token")
		if err == nil {
			return out
		}
		return missing(out, "NotFound")
	})
	require.Contains(t, c.KubectlFails("", "auth", "whoami", "--token", token), "Unauthorized")
}

func whatIsRecorded(t *testing.T, c *cluster.Cluster, log string) {
	c.Kubectl("create", "secret", "generic", "hidden", "--from-literal", "password=swordfish")
	c.Kubectl("create", "configmap", "shown", "--from-literal", "greeting=hello")
	find := func(name, verb string) *auditv1.Event {
		raw, err := os.ReadFile(log)
		require.NoError(t, err)
		for _, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
			e := &auditv1.Event{}
			require.NoError(t, json.Unmarshal(line, e), string(line))
			if e.ObjectRef != nil && e.ObjectRef.Name == name && e.Verb == verb {
				return e
			}
		}
		return nil
	}
	c.Eventually("the Secret's creation is recorded", func() string {
		if find("shown", "create") == nil {
			return "not yet"
		}
		return ""
	})
	secret := find("hidden", "create")
	require.NotNil(t, secret)
	require.Equal(t, auditv1.Level("Metadata"), secret.Level)
	require.EqualValues(t, 201, secret.ResponseStatus.Code)
	require.Contains(t, secret.RequestURI, "/api/v1/namespaces/default/secrets?fieldManager=kubectl-create")
	require.Contains(t, secret.UserAgent, "kubectl/")
	require.Equal(t, "kubernetes-admin", secret.User.Username)
	require.Nil(t, secret.RequestObject)
	require.Contains(t, string(find("shown", "create").ResponseObject.Raw), `"greeting":"hello"`)
	raw, err := os.ReadFile(log)
	require.NoError(t, err)
	for _, hidden := range []string{"swordfish", base64.StdEncoding.EncodeToString([]byte("swordfish")), "0123456789abcdef"} {
		require.NotContains(t, string(raw), hidden)
	}
}
