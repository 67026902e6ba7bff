package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

const trusting = `
apiVersion: v1
kind: Pod
metadata: {name: trusting}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: my-app, command: [sleep, "1000000"], volumeMounts: [{name: v, mountPath: /v}]}]
  volumes:
  - name: v
    projected:
      sources:
      - clusterTrustBundle: {name: mine, path: ca.pem}
      - podCertificate: {signerName: example.com/pods, keyType: ED25519, credentialBundlePath: me.pem}
`

// TestPodCertificates plays the signer of a pod's certificate.
func TestPodCertificates(t *testing.T) {
	c := cluster.Start(t)
	c.Apply(trusting)
	c.Eventually("the pod says what it lacks", func() string {
		return lacks(c.Kubectl("describe", "pod", "trusting"), "FailedMount", `clustertrustbundle "mine" not found`)
	})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	now := time.Now().Truncate(time.Second).UTC()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(2 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	trust := certificatePEM(t, ca, ca, key.Public(), key)
	bundle, err := json.Marshal(map[string]any{
		"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle", "metadata": map[string]any{"name": "mine"}, "spec": map[string]any{"trustBundle": trust},
	})
	require.NoError(t, err)
	c.Apply(string(bundle))

	var name, chain string
	c.Eventually("the node asks for the certificate", func() string {
		out := c.Kubectl("get", "podcertificaterequests", "-o", "jsonpath={range .items[*]}{.metadata.name} {.spec.stubPKCS10Request}{end}")
		var csr string
		name, csr, _ = strings.Cut(out, " ")
		der, err := base64.StdEncoding.DecodeString(csr)
		if err != nil || len(der) == 0 {
			return "got " + out
		}
		request, err := x509.ParseCertificateRequest(der)
		require.NoError(t, err)
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: now, NotAfter: now.Add(2 * time.Hour)}
		chain = certificatePEM(t, leaf, ca, request.PublicKey, key)
		return ""
	})
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"conditions":       []any{map[string]any{"type": "Issued", "status": "True", "reason": "Issued", "message": "here", "lastTransitionTime": now}},
		"certificateChain": chain, "notBefore": now, "beginRefreshAt": now.Add(time.Hour), "notAfter": now.Add(2 * time.Hour),
	}})
	require.NoError(t, err)
	c.Kubectl("patch", "podcertificaterequest", name, "--subresource=status", "--type=merge", "-p", string(status))
	c.Kubectl("wait", "pod/trusting", "--for=condition=Ready", "--timeout=60s")
	require.Equal(t, trust, c.Kubectl("exec", "trusting", "--", "cat", "/v/ca.pem"))
	me := []byte(c.Kubectl("exec", "trusting", "--", "cat", "/v/me.pem"))
	_, err = tls.X509KeyPair(me, me)
	require.NoError(t, err)
	require.NotContains(t, c.Kubectl("get", "podcertificaterequest", name, "-o", "yaml"), "PRIVATE")
}

func certificatePEM(t *testing.T, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) string {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
