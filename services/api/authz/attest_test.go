package authz

import (
	"testing"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/registry"
)

func TestTrustBundlesOfASignerAreWrittenByWhoSpeaksForIt(t *testing.T) {
	a := New(Config{})
	a.Update(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "speaker"}, Rules: rules(on("attest", "certificates.k8s.io", "signers", "example.com/*"))})
	a.Update(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "speaker"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "speaker"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "joe"}},
	})
	kind, _ := registry.Lookup(certificatesv1.SchemeGroupVersion.WithKind("ClusterTrustBundle"))
	write := func(who, signer string) error {
		bundle := &certificatesv1.ClusterTrustBundle{Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: "x"}}
		return contents{a}.Validate(t.Context(), &admission.Attributes{Operation: admission.Create, Kind: kind, Name: "b", Object: bundle, User: user(who)})
	}
	require.NoError(t, write("joe", "example.com/s"))
	require.NoError(t, write("jane", ""))
	require.EqualError(t, write("jane", "example.com/s"),
		`clustertrustbundles.certificates.k8s.io "b" is forbidden: user not permitted to attest for signerName "example.com/s"`)
}
