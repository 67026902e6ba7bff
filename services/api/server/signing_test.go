package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
)

const (
	waitFor = 10 * time.Second
	tick    = 20 * time.Millisecond
)

func signingRequest(t *testing.T, name string, groups ...string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	return signingRequestOf(t, name, pkix.Name{CommonName: "jane", Organization: groups})
}

func signingRequestOf(t *testing.T, name string, subject pkix.Name) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	require.NoError(t, err)
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		SignerName: certificatesv1.KubeAPIServerClientSignerName, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
	}}
}

// grant lets a user do what the rules say, everywhere.
func (w *world) grant(t *testing.T, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	for _, obj := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}},
	} {
		require.NoError(t, w.Create(w.ctx, obj))
	}
}

func TestSigningRequestsNameTheirAuthor(t *testing.T) {
	w := newWorld(t)
	group := []string{certificatesv1.GroupName}
	w.grant(t, "jane", rbacv1.PolicyRule{APIGroups: group, Resources: []string{"certificatesigningrequests"}, Verbs: []string{"create", "update"}})
	jane := w.Cluster.Client(identity.User{Name: "jane", UID: "7", Groups: []string{"dev"}, Extra: map[string][]string{"team": {"a", "b"}}})
	forged := signingRequest(t, "r")
	forged.Spec.Username, forged.Spec.UID, forged.Spec.Groups = "system:node:vm", "1", []string{identity.GroupNodes}
	forged.Spec.Extra = map[string]certificatesv1.ExtraValue{"x": {"y"}}
	forged.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
	require.Eventually(t, func() bool { return !apierrors.IsForbidden(jane.Create(w.ctx, forged.DeepCopy())) }, waitFor, tick)

	check := func() {
		stored := &certificatesv1.CertificateSigningRequest{}
		require.NoError(t, w.Get(w.ctx, stored, "", "r"))
		require.Equal(t, "jane", stored.Spec.Username)
		require.Equal(t, "7", stored.Spec.UID)
		require.Contains(t, stored.Spec.Groups, "dev")
		require.NotContains(t, stored.Spec.Groups, identity.GroupNodes)
		require.Equal(t, map[string]certificatesv1.ExtraValue{"team": {"a", "b"}}, stored.Spec.Extra)
		require.Empty(t, stored.Status.Conditions)
	}
	check()
	forged.Spec.Username, forged.ResourceVersion = "system:node:vm", ""
	require.NoError(t, jane.Update(w.ctx, forged))
	check()

	require.ErrorContains(t, jane.Create(w.ctx, signingRequest(t, "root", identity.GroupMasters)),
		"use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")
	for _, own := range []string{identity.UserGateway, identity.UserAPI} {
		require.ErrorContains(t, jane.Create(w.ctx, signingRequestOf(t, "own", pkix.Name{CommonName: own})),
			"use of kubernetes.io/kube-apiserver-client signer for user "+own+" is not allowed")
	}
}

func TestApprovingNeedsTheSigner(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.Create(w.ctx, signingRequest(t, "r")))
	group := []string{certificatesv1.GroupName}
	resource := rbacv1.PolicyRule{APIGroups: group, Resources: []string{"certificatesigningrequests/approval"}, Verbs: []string{"patch"}}
	w.grant(t, "joe", resource)
	w.grant(t, "ann", resource, rbacv1.PolicyRule{APIGroups: group, Resources: []string{"signers"}, ResourceNames: []string{"kubernetes.io/*"}, Verbs: []string{"approve"}})
	approve := func(user string) error {
		r := signingRequest(t, "r")
		return w.Cluster.Client(identity.User{Name: user}).Patch(w.ctx, r, types.MergePatchType,
			[]byte(`{"status":{"conditions":[{"type":"Approved","status":"True","reason":"Test"}]}}`), "approval")
	}
	require.Eventually(t, func() bool { return approve("ann") == nil }, waitFor, tick)
	require.EqualError(t, approve("joe"), `certificatesigningrequests.certificates.k8s.io "r" is forbidden: `+
		`user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`)
}
