package api_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
)

func TestEverybodyReadsWhereTheClusterIs(t *testing.T) {
	c := apitest.Start(t, func(config *api.Config) {
		config.Advertise, config.CA = netip.MustParseAddrPort("192.0.2.1:6443"), []byte("authority")
	})
	stranger := c.Client(identity.User{Name: identity.UserAnonymous, Groups: []string{"system:unauthenticated"}})
	info := &corev1.ConfigMap{}
	require.NoError(t, stranger.Get(t.Context(), info, "kube-public", "cluster-info"))
	require.Contains(t, info.Data["kubeconfig"], "server: https://192.0.2.1:6443\n")
	require.Contains(t, info.Data["kubeconfig"], "certificate-authority-data: YXV0aG9yaXR5\n")
	require.True(t, apierrors.IsForbidden(stranger.Get(t.Context(), info, "kube-public", "other")))

	admin := c.Client(apitest.Admin)
	require.NoError(t, admin.Get(t.Context(), &corev1.Namespace{}, "", "kubernetes-dashboard"))
	endpoints := &corev1.Endpoints{}
	require.NoError(t, admin.Get(t.Context(), endpoints, "default", "kubernetes"))
	require.Equal(t, "true", endpoints.Labels["endpointslice.kubernetes.io/skip-mirror"])
}
