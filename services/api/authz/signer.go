package authz

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"reflect"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/admission"
)

// checkSigner refuses what a CertificateSigningRequest's signer name forbids: requests for the administrators' group or
// for the control plane's own names, and approving or signing by somebody who may not do so for that signer, whatever he
// may do with the resource.
func (a *Authorizer) checkSigner(ctx context.Context, w *admission.Attributes) error {
	request, ok := w.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil
	}
	forbidden := func(format string, args ...any) error {
		return apierrors.NewForbidden(w.GroupResource(), w.Name, fmt.Errorf(format, args...))
	}
	if w.Operation == admission.Create {
		if request.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			return nil
		}
		switch subject := requestedSubject(request.Spec.Request); {
		case slices.Contains(subject.Organization, identity.GroupMasters):
			return forbidden("use of %s signer with %s group is not allowed", request.Spec.SignerName, identity.GroupMasters)
		case subject.CommonName == identity.UserGateway || subject.CommonName == identity.UserAPI:
			// The one is believed when it says who somebody is, an administrator for example, the other by every node.
			return forbidden("use of %s signer for user %s is not allowed", request.Spec.SignerName, subject.CommonName)
		}
		return nil
	}
	verb := verbOfDecision(w, request)
	if verb == "" {
		return nil
	}
	// What is stored counts: it cannot have been changed by this write.
	signer := request.Spec.SignerName
	allowed, err := a.mayForSigner(ctx, w.User, verb, signer)
	if err != nil || allowed {
		return err
	}
	return forbidden("user not permitted to %s requests with signerName %q", verb, signer)
}

// verbOfDecision is the right on signers that a write needs; empty for none.
func verbOfDecision(w *admission.Attributes, now *certificatesv1.CertificateSigningRequest) string {
	switch w.Subresource {
	case "approval":
		return "approve"
	case "status":
		was, _ := w.Old.(*certificatesv1.CertificateSigningRequest)
		if was == nil || !reflect.DeepEqual(was.Status, now.Status) {
			return "sign"
		}
	}
	return ""
}

// mayForSigner asks for the signer by its name, and for all signers of its domain.
func (a *Authorizer) mayForSigner(ctx context.Context, user identity.User, verb, signer string) (bool, error) {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		allowed, _, err := a.Authorize(ctx, Attributes{
			User: user, Verb: verb, Group: certificatesv1.GroupName, Version: "*", Resource: "signers", Name: name,
		})
		if err != nil || allowed {
			return allowed, err
		}
	}
	return false, nil
}

// requestedSubject is whom a request's certificate would be for. What cannot be read is left to validation.
func requestedSubject(request []byte) pkix.Name {
	block, _ := pem.Decode(request)
	if block == nil {
		return pkix.Name{}
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return pkix.Name{}
	}
	return parsed.Subject
}
