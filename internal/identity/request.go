package identity

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Usages says what a certificate may be used for.
type Usages struct {
	Key      x509.KeyUsage
	Extended []x509.ExtKeyUsage
}

// SignRequest returns a certificate (PEM) for a signing request: its subject and alternative names with the given usages
// and life, which ends at the latest with the authority. Nothing else of the request is taken over. Whether the request
// should be granted is the caller's to decide; that its sender has the key is checked here.
func (c *Cluster) SignRequest(request *x509.CertificateRequest, usages Usages, life time.Duration) ([]byte, error) {
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the request's signature: %w", err)
	}
	if life <= 0 {
		return nil, errors.New("sign a request: the certificate would end at once")
	}
	now := time.Now()
	end := now.Add(life)
	if end.After(c.ca.cert.NotAfter) {
		end = c.ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: request.Subject, NotBefore: now.Add(-backdate), NotAfter: end,
		KeyUsage: usages.Key, ExtKeyUsage: usages.Extended, BasicConstraintsValid: true,
		DNSNames: request.DNSNames, IPAddresses: request.IPAddresses, EmailAddresses: request.EmailAddresses, URIs: request.URIs,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.ca.cert, request.PublicKey, c.ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate for %s: %w", request.Subject.CommonName, err)
	}
	return encodePEM("CERTIFICATE", der), nil
}
