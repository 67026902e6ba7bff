package volume

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node/podfield"
)

// signer is a control plane that issues tokens, and certificates when it likes.
type signer struct {
	token   func()
	life    time.Duration // of tokens; an hour if not set
	away    error         // what is answered instead of anything
	bundles []*certificatesv1.ClusterTrustBundle
	csr     []byte
	asked   int
	status  certificatesv1.PodCertificateRequestStatus
}

func (s *signer) Token(context.Context, *corev1.Pod, *corev1.ServiceAccountTokenProjection) (string, time.Time, error) {
	if s.away != nil {
		return "", time.Time{}, s.away
	}
	s.token()
	now := time.Now()
	expiry := now.Add(cmp.Or(s.life, time.Hour))
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, now.Unix(), expiry.Unix())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln", expiry, nil
}

func (s *signer) TrustBundles(context.Context, *corev1.ClusterTrustBundleProjection) ([]*certificatesv1.ClusterTrustBundle, error) {
	return append([]*certificatesv1.ClusterTrustBundle{}, s.bundles...), s.away
}

func (s *signer) RequestCertificate(_ context.Context, _ *corev1.Pod, _ *corev1.PodCertificateProjection, csr []byte) (string, error) {
	s.csr, s.asked = csr, s.asked+1
	return "req", s.away
}

func (s *signer) CertificateRequest(_ context.Context, _, name string) (*certificatesv1.PodCertificateRequestStatus, error) {
	if name != "req" {
		return nil, errors.New("no such request")
	}
	if s.csr != nil && len(s.status.Conditions) == 0 {
		s.issue()
	}
	return &s.status, nil
}

func (s *signer) issue() {
	request, err := x509.ParseCertificateRequest(s.csr)
	if err != nil || request.CheckSignature() != nil {
		panic("a request that is not signed by its key")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, request.PublicKey, key)
	if err != nil {
		panic(err)
	}
	refresh := metav1.NewTime(time.Now().Add(30 * time.Minute))
	s.status = certificatesv1.PodCertificateRequestStatus{
		Conditions:       []metav1.Condition{{Type: "Issued", Status: metav1.ConditionTrue}},
		CertificateChain: "words\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), BeginRefreshAt: &refresh,
	}
}

func projecting(p corev1.VolumeProjection) *corev1.Pod {
	return testPod(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{p}}})
}

func TestAPodGetsACertificateAndItsKey(t *testing.T) {
	needsRoot(t)
	for kind := range keyTypes {
		if kind == "RSA4096" {
			continue // takes its time
		}
		control := &signer{}
		m := New(t.TempDir(), nil, control, nil)
		pod := projecting(corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{SignerName: "s", KeyType: kind, CredentialBundlePath: "both", CertificateChainPath: "chain"}})
		for range 2 {
			out, err := m.Prepare(context.Background(), pod, &podfield.Facts{}, nil)
			require.NoError(t, err)
			both := []byte(read(t, filepath.Join(out.Paths["v"], "both")))
			_, err = tls.X509KeyPair(both, both)
			require.NoError(t, err, "key and certificate belong together")
			require.NotContains(t, read(t, filepath.Join(out.Paths["v"], "chain")), "words")
			require.WithinDuration(t, time.Now().Add(30*time.Minute), out.Refresh, time.Minute)
		}
		require.Equal(t, 1, control.asked)
		require.NoError(t, m.Teardown("uid"))
		require.Empty(t, m.certificates.byKey)
	}
	denied := &signer{status: certificatesv1.PodCertificateRequestStatus{Conditions: []metav1.Condition{
		{Type: "Denied", Status: metav1.ConditionTrue, Reason: "UnsupportedKeyType", Message: "try ED25519"},
	}}}
	m := New(t.TempDir(), nil, denied, nil)
	_, err := m.Prepare(context.Background(), projecting(corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{KeyType: "ECDSAP256", KeyPath: "key"}}), &podfield.Facts{}, nil)
	require.ErrorContains(t, err, "Denied: UnsupportedKeyType: try ED25519")
}

func TestTrustIsMergedAndSelected(t *testing.T) {
	needsRoot(t)
	certificate := func(b byte) string {
		return "words\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{b}}))
	}
	bundle := func(signer, label, trust string) *certificatesv1.ClusterTrustBundle {
		return &certificatesv1.ClusterTrustBundle{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"l": label}}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: trust},
		}
	}
	control := &signer{bundles: []*certificatesv1.ClusterTrustBundle{
		bundle("s", "x", certificate(1)+certificate(2)), bundle("s", "x", certificate(2)), bundle("s", "y", certificate(3)), bundle("other", "x", certificate(4)),
	}}
	m := New(t.TempDir(), nil, control, nil)
	t.Cleanup(func() { require.NoError(t, m.Teardown("uid")) })
	trust := func(p *corev1.ClusterTrustBundleProjection) (string, error) {
		p.Path, p.SignerName = "ca", ptr("s")
		out, err := m.Prepare(context.Background(), projecting(corev1.VolumeProjection{ClusterTrustBundle: p}), &podfield.Facts{}, nil)
		if err != nil || value(p.Optional) {
			return "", err
		}
		return read(t, filepath.Join(out.Paths["v"], "ca")), nil
	}
	text, err := trust(&corev1.ClusterTrustBundleProjection{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"l": "x"}}})
	require.NoError(t, err)
	require.Equal(t, merged([]*certificatesv1.ClusterTrustBundle{bundle("", "", certificate(2)+certificate(1))}), []byte(text))
	_, err = trust(&corev1.ClusterTrustBundleProjection{})
	require.ErrorContains(t, err, "no clustertrustbundle", "no selector chooses none")
	_, err = trust(&corev1.ClusterTrustBundleProjection{Optional: ptr(true)})
	require.NoError(t, err)
}
