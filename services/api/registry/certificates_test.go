package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

func signingRequest(t *testing.T) *certificatesv1.CertificateSigningRequest {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, key)
	require.NoError(t, err)
	out := &certificatesv1.CertificateSigningRequest{}
	out.Name = "jane"
	out.Spec = certificatesv1.CertificateSigningRequestSpec{
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: "example.org/signer", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
	}
	return out
}

func TestSigningRequestsAreChecked(t *testing.T) {
	require.Empty(t, validateSigningRequest(signingRequest(t)))
	short := int32(1)
	for want, change := range map[string]func(c *certificatesv1.CertificateSigningRequest){
		"spec.request: Invalid value": func(c *certificatesv1.CertificateSigningRequest) { c.Spec.Request = []byte("x") },
		"spec.usages: Required value": func(c *certificatesv1.CertificateSigningRequest) { c.Spec.Usages = nil },
		"spec.usages[1]: Duplicate value": func(c *certificatesv1.CertificateSigningRequest) {
			c.Spec.Usages = append(c.Spec.Usages, certificatesv1.UsageClientAuth)
		},
		"spec.usages[0]: Unsupported value": func(c *certificatesv1.CertificateSigningRequest) { c.Spec.Usages[0] = "magic" },
		"spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version": func(c *certificatesv1.CertificateSigningRequest) {
			c.Spec.SignerName = signerLegacy
		},
		"must be a fully qualified domain and path of the form 'example.com/signer-name'":            func(c *certificatesv1.CertificateSigningRequest) { c.Spec.SignerName = "example.org" },
		"spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 600 seconds": func(c *certificatesv1.CertificateSigningRequest) { c.Spec.ExpirationSeconds = &short },
	} {
		c := signingRequest(t)
		change(c)
		require.ErrorContains(t, validateSigningRequest(c).ToAggregate(), want)
	}
}

func TestDecisionsAndCertificatesStay(t *testing.T) {
	is := func(of certificatesv1.RequestConditionType, status corev1.ConditionStatus) certificatesv1.CertificateSigningRequestCondition {
		return certificatesv1.CertificateSigningRequestCondition{Type: of, Status: status}
	}
	old, now := signingRequest(t), signingRequest(t)
	now.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{is(certificatesv1.CertificateApproved, corev1.ConditionTrue)}
	require.Empty(t, validateDecision(now, old))
	require.ErrorContains(t, validateDecision(old, now).ToAggregate(), `updates may not remove a condition of type "Approved"`)
	both := now.DeepCopy()
	both.Status.Conditions = append(both.Status.Conditions, is(certificatesv1.CertificateDenied, corev1.ConditionTrue))
	require.ErrorContains(t, validateDecision(both, now).ToAggregate(), "mutually exclusive")
	both.Status.Conditions[0].Status = corev1.ConditionFalse
	require.ErrorContains(t, validateDecision(both, now).ToAggregate(), `status.conditions[0].status: Unsupported value: "False"`)

	signed := now.DeepCopy()
	signed.Status.Certificate = []byte("x")
	require.ErrorContains(t, validateSignature(signed, now).ToAggregate(), "must contain at least one CERTIFICATE PEM block")
	require.ErrorContains(t, validateSignature(now, signed).ToAggregate(), "updates may not modify existing certificate content")
}
