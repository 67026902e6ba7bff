package registry

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

const (
	// shortestCertificate is the shortest life that may be asked for, in seconds.
	shortestCertificate = 600
	// signerLegacy signed whatever was approved, in versions of the API that are gone.
	signerLegacy = "kubernetes.io/legacy-unknown"
	// longestSignerPath bounds what follows the domain in a signer's name.
	longestSignerPath = 253
)

var certificateUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment, certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign,
	certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
	certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME,
	certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
	certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
}

func validateSigningRequest(c *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var e check.Errors
	p := field.NewPath("spec")
	if err := parseRequest(c.Spec.Request); err != nil {
		e.Invalid(p.Child("request"), c.Spec.Request, err.Error())
	}
	if len(c.Spec.Usages) == 0 {
		e.Required(p.Child("usages"), "")
	}
	seen := map[certificatesv1.KeyUsage]bool{}
	for i, u := range c.Spec.Usages {
		at := p.Child("usages").Index(i)
		if check.OneOf(&e, at, u, certificateUsages...); seen[u] {
			e.Duplicate(at, u)
		}
		seen[u] = true
	}
	validateSignerName(&e, p.Child("signerName"), c.Spec.SignerName)
	if s := c.Spec.ExpirationSeconds; s != nil {
		e.If(*s < shortestCertificate, p.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	validateConditions(&e, c.Status.Conditions)
	return e.List()
}

// parseRequest reads a request as far as its sender can be told what is wrong with it.
func parseRequest(request []byte) error {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	_, err := x509.ParseCertificateRequest(block.Bytes)
	return err
}

func validateSignerName(e *check.Errors, p *field.Path, name string) {
	if !e.NotEmpty(p, name) {
		return
	}
	domain, path, ok := strings.Cut(name, "/")
	switch {
	case name == signerLegacy:
		e.Invalid(p, name, "the legacy signerName is not allowed via this API version")
	case !ok || path == "":
		e.Invalid(p, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
	case !strings.Contains(domain, "."):
		e.Invalid(p, domain, "should be a domain with at least two segments separated by dots")
	default:
		e.Messages(p, domain, validation.IsDNS1123Subdomain(domain))
		for _, segment := range strings.Split(path, ".") {
			e.Messages(p, path, validation.IsDNS1123Subdomain(segment))
		}
		if len(path) > longestSignerPath {
			e.Add(field.TooLong(p, "", longestSignerPath))
		}
	}
}

func validateConditions(e *check.Errors, conditions []certificatesv1.CertificateSigningRequestCondition) {
	seen := map[certificatesv1.RequestConditionType]bool{}
	path := field.NewPath("status", "conditions")
	for i, c := range conditions {
		at := path.Index(i)
		if !e.NotEmpty(at.Child("type"), string(c.Type)) {
			continue
		}
		switch c.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			check.OneOf(e, at.Child("status"), c.Status, corev1.ConditionTrue)
		default:
			check.OneOf(e, at.Child("status"), c.Status, corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown)
		}
		if seen[c.Type] {
			e.Duplicate(at.Child("type"), c.Type)
		}
		seen[c.Type] = true
	}
	if seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] {
		e.Invalid(path, "", "Approved and Denied conditions are mutually exclusive")
	}
}

// validateDecision checks an approval or denial: it is not taken back.
func validateDecision(c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var e check.Errors
	validateConditions(&e, c.Status.Conditions)
	keepConditions(&e, c, old)
	return e.List()
}

// validateSignature checks what a signer writes: conditions stay, and so does a certificate once it is there.
func validateSignature(c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var e check.Errors
	validateConditions(&e, c.Status.Conditions)
	keepConditions(&e, c, old)
	p := field.NewPath("status", "certificate")
	switch {
	case bytes.Equal(c.Status.Certificate, old.Status.Certificate):
	case len(old.Status.Certificate) > 0:
		e.Forbidden(p, "updates may not modify existing certificate content")
	default:
		if err := parseChain(c.Status.Certificate); err != nil {
			e.Invalid(p, "<certificate data>", err.Error())
		}
	}
	return e.List()
}

func keepConditions(e *check.Errors, c, old *certificatesv1.CertificateSigningRequest) {
	now := map[certificatesv1.RequestConditionType]bool{}
	for _, d := range c.Status.Conditions {
		now[d.Type] = true
	}
	for _, d := range old.Status.Conditions {
		switch d.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			if !now[d.Type] {
				e.Forbidden(field.NewPath("status", "conditions"), fmt.Sprintf("updates may not remove a condition of type %q", d.Type))
			}
		}
	}
}

// parseChain wants one or more certificates in PEM, and nothing else in them.
func parseChain(data []byte) error {
	blocks := 0
	for rest := data; ; blocks++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type != "CERTIFICATE":
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		case len(block.Headers) > 0:
			return errors.New("no PEM block headers are permitted")
		}
		if _, err := x509.ParseCertificates(block.Bytes); err != nil {
			return err
		}
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}
