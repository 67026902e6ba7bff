package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// backdate keeps certificates valid on machines whose clock is a little behind.
	backdate = 5 * time.Minute
	caCert   = "ca.crt"
)

// Spec says what a leaf certificate is for. With DNSNames or IPs it is a server certificate, otherwise a client
// certificate; Both makes it both.
type Spec struct {
	// CommonName is the user's name; Organizations are its groups.
	CommonName    string
	Organizations []string
	DNSNames      []string
	IPs           []net.IP
	// Both is for processes that serve and call under one name, as node agents do.
	Both bool
	// Life is a year when 0.
	Life time.Duration
}

// ClientSpec returns the spec of a user's client certificate.
func ClientSpec(u User) Spec { return Spec{CommonName: u.Name, Organizations: u.Groups} }

// Leaf is a certificate with its key.
type Leaf struct {
	CertPEM, KeyPEM []byte
	TLS             tls.Certificate
}

// due reports whether less than 30% of the certificate's life is left.
func (l *Leaf) due(now time.Time) bool {
	life := l.TLS.Leaf.NotAfter.Sub(l.TLS.Leaf.NotBefore)
	return now.After(l.TLS.Leaf.NotAfter.Add(-life * 3 / 10))
}

// errMismatch: a certificate and a key on disk do not belong together, as after a crash between writing the two.
var errMismatch = errors.New("certificate and key do not fit")

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
	pool *x509.CertPool
}

// loadOrCreateAuthority reads the authority whose files in pki begin with name, or makes one with that subject.
func loadOrCreateAuthority(pki, name, subject string) (*authority, error) {
	certPEM, err := os.ReadFile(filepath.Join(pki, name+".crt"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return createAuthority(pki, name, subject)
	case err != nil:
		return nil, fmt.Errorf("read the cluster's CA: %w", err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(pki, name+".key"))
	if err != nil {
		return nil, fmt.Errorf("read the key of the cluster's CA: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's CA in %s: %w", pki, err)
	}
	return newAuthority(pair.Leaf, pair.PrivateKey.(crypto.Signer), certPEM), nil
}

// createAuthority writes the key first: a certificate on disk means that its key is there.
func createAuthority(pki, name, subject string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: subject},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back the CA's certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(pki, name+".key"), keyPEM, 0o600); err != nil {
		return nil, err
	}
	certPEM := encodePEM("CERTIFICATE", der)
	if err := writeFile(filepath.Join(pki, name+".crt"), certPEM, 0o644); err != nil {
		return nil, err
	}
	return newAuthority(cert, key, certPEM), nil
}

func newAuthority(cert *x509.Certificate, key crypto.Signer, certPEM []byte) *authority {
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert: cert, key: key, pem: certPEM, pool: pool}
}

func (a *authority) issue(spec Spec, now time.Time) (*Leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for %s: %w", spec.CommonName, err)
	}
	der, err := a.sign(key.Public(), spec, now)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return newLeaf(encodePEM("CERTIFICATE", der), keyPEM)
}

func newLeaf(certPEM, keyPEM []byte) (*Leaf, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMismatch, err)
	}
	return &Leaf{CertPEM: certPEM, KeyPEM: keyPEM, TLS: pair}, nil
}

func (a *authority) sign(public crypto.PublicKey, spec Spec, now time.Time) ([]byte, error) {
	life := spec.Life
	if life == 0 {
		life = leafLife
	}
	end := now.Add(life)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: spec.CommonName, Organization: spec.Organizations},
		NotBefore: now.Add(-backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		DNSNames: spec.DNSNames, IPAddresses: spec.IPs, ExtKeyUsage: spec.usages(),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate for %s: %w", spec.CommonName, err)
	}
	return der, nil
}

func (s Spec) usages() []x509.ExtKeyUsage {
	switch server := len(s.DNSNames)+len(s.IPs) > 0; {
	case s.Both:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	case server:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	default:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
}

// serial returns a random positive serial number; rand.Read never fails.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encodePEM("EC PRIVATE KEY", der), nil
}
