package registry

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// bundleOmitted stands for a bundle in what a client is told about it.
const bundleOmitted = "<value omitted>"

func validateTrustBundle(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
	var e check.Errors
	validateBundleName(&e, b.Name, b.Spec.SignerName)
	p := field.NewPath("spec")
	if b.Spec.SignerName != "" {
		validateSignerName(&e, p.Child("signerName"), b.Spec.SignerName)
	}
	if at := p.Child("trustBundle"); e.NotEmpty(at, b.Spec.TrustBundle) {
		validateBundle(&e, at, []byte(b.Spec.TrustBundle))
	}
	return e.List()
}

// validateBundleName wants the name of a signer's bundle to begin with the signer's, so that rights to names are rights to
// signers; other bundles have no colon in their name.
func validateBundleName(e *check.Errors, name, signer string) {
	p := field.NewPath("metadata", "name")
	if signer == "" {
		if strings.Contains(name, ":") {
			e.Invalid(p, name, `ClusterTrustBundle without signer name must not have ":" in its name`)
		} else {
			e.Messages(p, name, validation.IsDNS1123Subdomain(name))
		}
		return
	}
	prefix := strings.ReplaceAll(signer, "/", ":") + ":"
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		e.Invalid(p, name, fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, prefix))
		return
	}
	e.Messages(p, name, validation.IsDNS1123Subdomain(rest))
}

// validateBundle wants certificates in PEM, each once, and at least one.
func validateBundle(e *check.Errors, p *field.Path, data []byte) {
	seen := map[[sha256.Size]byte]int{}
	n := 0
	for ; ; n++ {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		switch {
		case block.Type != "CERTIFICATE":
			e.Invalid(p, bundleOmitted, fmt.Sprintf("entry %d has bad block type: %v", n, block.Type))
			continue
		case len(block.Headers) > 0:
			e.Invalid(p, bundleOmitted, fmt.Sprintf("entry %d has PEM block headers", n))
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			e.Invalid(p, bundleOmitted, fmt.Sprintf("entry %d does not parse as X.509", n))
			continue
		}
		sum := sha256.Sum256(block.Bytes)
		if before, twice := seen[sum]; twice {
			e.Invalid(p, bundleOmitted, fmt.Sprintf("duplicate trust anchor (indices [%d %d])", before, n))
		}
		seen[sum] = n
	}
	if n == 0 {
		e.Invalid(p, bundleOmitted, "at least one trust anchor must be provided")
	}
}

func validateTrustBundleUpdate(b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
	var e check.Errors
	e.Immutable(field.NewPath("spec", "signerName"), b.Spec.SignerName, old.Spec.SignerName)
	return e.List()
}
