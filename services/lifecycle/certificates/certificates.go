// Package certificates answers CertificateSigningRequests: the approver lets nodes have their client certificates, the
// signer makes the certificates of Kubernetes' own signers, and the cleaner removes requests that nobody needs any more.
package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// parse reads the request inside a CertificateSigningRequest.
func parse(csr *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the certificate request: %w", err)
	}
	return request, nil
}

// condition returns a request's condition of a type, nil when it has none.
func condition(csr *certificatesv1.CertificateSigningRequest, of certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	for i := range csr.Status.Conditions {
		if c := &csr.Status.Conditions[i]; c.Type == of && c.Status != corev1.ConditionFalse {
			return c
		}
	}
	return nil
}

// decided reports whether somebody has approved or denied a request.
func decided(csr *certificatesv1.CertificateSigningRequest) bool {
	return condition(csr, certificatesv1.CertificateApproved) != nil || condition(csr, certificatesv1.CertificateDenied) != nil
}

// How long requests are kept: those that were answered for who wants to look at them, those that nobody answers for a day.
const (
	keepAnswered = time.Hour
	keepPending  = 24 * time.Hour
)

// obsoleteAt returns when a request may go.
func obsoleteAt(csr *certificatesv1.CertificateSigningRequest) time.Time {
	at := csr.CreationTimestamp.Add(keepPending)
	for _, of := range []certificatesv1.RequestConditionType{certificatesv1.CertificateDenied, certificatesv1.CertificateFailed, certificatesv1.CertificateApproved} {
		c := condition(csr, of)
		if c == nil {
			continue
		}
		if of == certificatesv1.CertificateApproved && len(csr.Status.Certificate) == 0 {
			// Approved, but its signer has not come by yet: it is pending as before.
			continue
		}
		at = earlier(at, c.LastUpdateTime.Add(keepAnswered))
	}
	if end, ok := endOf(csr.Status.Certificate); ok {
		at = earlier(at, end)
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// endOf returns when an issued certificate ends.
func endOf(certificate []byte) (time.Time, bool) {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return time.Time{}, false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, false
	}
	return cert.NotAfter, true
}
