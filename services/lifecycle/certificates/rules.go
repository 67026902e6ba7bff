package certificates

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"

	"karve.dev/karve/internal/identity"
)

// signerLegacy signs whatever was approved. Requests for it cannot be made through this version of the API.
const signerLegacy = "kubernetes.io/legacy-unknown"

// signers are the ones that this package answers for, with what each refuses.
var signers = map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error{
	certificatesv1.KubeAPIServerClientSignerName:        checkClient,
	certificatesv1.KubeAPIServerClientKubeletSignerName: checkNodeClient,
	certificatesv1.KubeletServingSignerName:             checkNodeServing,
	signerLegacy:                                        func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error { return nil },
}

func checkClient(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

func checkNodeClient(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := checkNodeSubject(r); err != nil {
		return err
	}
	if len(r.DNSNames)+len(r.IPAddresses)+len(r.EmailAddresses)+len(r.URIs) > 0 {
		return errors.New("DNS, IP, email and URI subjectAltNames are not allowed in a node's client certificate")
	}
	return exactly(usages, certificatesv1.UsageClientAuth)
}

func checkNodeServing(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := checkNodeSubject(r); err != nil {
		return err
	}
	switch {
	case len(r.DNSNames)+len(r.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(r.EmailAddresses) > 0:
		return errors.New("email subjectAltNames are not allowed")
	case len(r.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	return exactly(usages, certificatesv1.UsageServerAuth)
}

func checkNodeSubject(r *x509.CertificateRequest) error {
	if !slices.Equal(r.Subject.Organization, []string{identity.GroupNodes}) {
		return fmt.Errorf("subject organization is not %s", identity.GroupNodes)
	}
	if name, ok := strings.CutPrefix(r.Subject.CommonName, identity.NodePrefix); !ok || name == "" {
		return fmt.Errorf("subject common name does not begin with %s", identity.NodePrefix)
	}
	return nil
}

// exactly wants a digital signature, the purpose, perhaps key encipherment (elliptic curves have no use for that), and
// nothing else.
func exactly(usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	seen := map[certificatesv1.KeyUsage]bool{}
	for _, u := range usages {
		if u != certificatesv1.UsageDigitalSignature && u != certificatesv1.UsageKeyEncipherment && u != purpose {
			return fmt.Errorf("usages did not match [digital signature, %s] with or without key encipherment: %s", purpose, u)
		}
		seen[u] = true
	}
	if !seen[certificatesv1.UsageDigitalSignature] || !seen[purpose] {
		return fmt.Errorf("usages did not match [digital signature, %s] with or without key encipherment", purpose)
	}
	return nil
}

var keyUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
	certificatesv1.UsageSigning: x509.KeyUsageDigitalSignature, certificatesv1.UsageDigitalSignature: x509.KeyUsageDigitalSignature,
	certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment, certificatesv1.UsageKeyEncipherment: x509.KeyUsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement: x509.KeyUsageKeyAgreement, certificatesv1.UsageDataEncipherment: x509.KeyUsageDataEncipherment,
	certificatesv1.UsageCertSign: x509.KeyUsageCertSign, certificatesv1.UsageCRLSign: x509.KeyUsageCRLSign,
	certificatesv1.UsageEncipherOnly: x509.KeyUsageEncipherOnly, certificatesv1.UsageDecipherOnly: x509.KeyUsageDecipherOnly,
}

var extendedUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
	certificatesv1.UsageAny: x509.ExtKeyUsageAny, certificatesv1.UsageServerAuth: x509.ExtKeyUsageServerAuth,
	certificatesv1.UsageClientAuth: x509.ExtKeyUsageClientAuth, certificatesv1.UsageCodeSigning: x509.ExtKeyUsageCodeSigning,
	certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection, certificatesv1.UsageSMIME: x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageIPsecEndSystem: x509.ExtKeyUsageIPSECEndSystem, certificatesv1.UsageIPsecTunnel: x509.ExtKeyUsageIPSECTunnel,
	certificatesv1.UsageIPsecUser: x509.ExtKeyUsageIPSECUser, certificatesv1.UsageTimestamping: x509.ExtKeyUsageTimeStamping,
	certificatesv1.UsageOCSPSigning: x509.ExtKeyUsageOCSPSigning, certificatesv1.UsageMicrosoftSGC: x509.ExtKeyUsageMicrosoftServerGatedCrypto,
	certificatesv1.UsageNetscapeSGC: x509.ExtKeyUsageNetscapeServerGatedCrypto,
}

// usagesOf translates what a request may be used for.
func usagesOf(wanted []certificatesv1.KeyUsage) (identity.Usages, error) {
	var out identity.Usages
	for _, u := range wanted {
		bit, isKey := keyUsages[u]
		extended, isExtended := extendedUsages[u]
		switch {
		case isKey:
			out.Key |= bit
		case !isExtended:
			return out, fmt.Errorf("unrecognized usage: %s", u)
		case !slices.Contains(out.Extended, extended):
			out.Extended = append(out.Extended, extended)
		}
	}
	slices.Sort(out.Extended)
	return out, nil
}
