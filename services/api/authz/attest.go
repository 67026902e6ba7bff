package authz

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/services/api/admission"
)

// checkAttest refuses trust bundles of a signer for which the writer may not speak.
func (a *Authorizer) checkAttest(ctx context.Context, w *admission.Attributes) error {
	bundle, ok := w.Object.(*certificatesv1.ClusterTrustBundle)
	if !ok || bundle.Spec.SignerName == "" {
		return nil
	}
	// Garbage collection and the like change metadata only.
	if old, ok := w.Old.(*certificatesv1.ClusterTrustBundle); ok && equality.Semantic.DeepEqual(old.Spec, bundle.Spec) {
		return nil
	}
	allowed, err := a.mayForSigner(ctx, w.User, "attest", bundle.Spec.SignerName)
	if err != nil || allowed {
		return err
	}
	return apierrors.NewForbidden(w.GroupResource(), w.Name, fmt.Errorf("user not permitted to attest for signerName %q", bundle.Spec.SignerName))
}
