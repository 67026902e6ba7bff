package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUIDOfACertificate(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	with := func(uids ...string) *x509.Certificate {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "jane"}}
		for _, uid := range uids {
			template.Subject.ExtraNames = append(template.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: oidUID, Value: uid})
		}
		return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
	}
	require.Empty(t, must(CertificateUID(with())))
	require.Equal(t, "7", must(CertificateUID(with("7"))))
	_, err := CertificateUID(with("7", "8"))
	require.Error(t, err)
}
