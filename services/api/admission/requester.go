package admission

import (
	"context"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// requester writes into a new CertificateSigningRequest who asks for the certificate: approvers trust what stands there,
// so it never comes from the request's own words.
type requester struct{}

func (requester) Admit(_ context.Context, a *Attributes) error {
	if a.Operation != Create || !a.Is(certificatesv1.GroupName, "CertificateSigningRequest") {
		return nil
	}
	spec := &a.Object.(*certificatesv1.CertificateSigningRequest).Spec
	spec.Username, spec.UID, spec.Groups, spec.Extra = a.User.Name, a.User.UID, slices.Clone(a.User.Groups), nil
	for key, values := range a.User.Extra {
		if spec.Extra == nil {
			spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		spec.Extra[key] = slices.Clone(values)
	}
	return nil
}
