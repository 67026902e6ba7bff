package authz

import (
	"testing"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/identity"
)

func TestANodeAsksForCertificatesOfItsOwnPods(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web", UID: "uid"}, Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "robot"}}
	a := New(Config{Pods: onePod{pod}})
	attrs := request(user("system:node:n1", identity.GroupNodes), "create", "certificates.k8s.io", "podcertificaterequests", "team", "")
	require.True(t, allowed(t, a, attrs))
	good := certificatesv1.PodCertificateRequestSpec{NodeName: "n1", PodName: "web", PodUID: "uid", ServiceAccountName: "robot"}
	ask := func(change func(*certificatesv1.PodCertificateRequestSpec)) error {
		spec := good
		change(&spec)
		return a.RestrictNode(t.Context(), attrs, &certificatesv1.PodCertificateRequest{Spec: spec}, nil)
	}
	require.NoError(t, ask(func(*certificatesv1.PodCertificateRequestSpec) {}))
	for why, change := range map[string]func(*certificatesv1.PodCertificateRequestSpec){
		"can only request certificates as itself":     func(s *certificatesv1.PodCertificateRequestSpec) { s.NodeName = "n2" },
		"for a pod that does not exist":               func(s *certificatesv1.PodCertificateRequestSpec) { s.PodUID = "another" },
		"a service account that the pod does not use": func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountName = "admin" },
	} {
		require.ErrorContains(t, ask(change), why)
	}
	pod.Spec.NodeName = "n2"
	require.ErrorContains(t, ask(func(*certificatesv1.PodCertificateRequestSpec) {}), "scheduled on a different node")
}
