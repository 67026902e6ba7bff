package tunnel_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/apitest"
)

// open asks for a tunnel and returns the refusal. Nothing listens where it leads: who may have it is told that.
func open(ctx context.Context, t *testing.T, conn grpc.ClientConnInterface, start *apiv1.TunnelStart) string {
	t.Helper()
	stream, err := apiv1.NewTunnelServiceClient(conn).Open(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&apiv1.OpenRequest{Message: &apiv1.OpenRequest_Start{Start: start}}))
	_, err = stream.Recv()
	require.Error(t, err)
	return apierr.FromGRPC(err).Error()
}

func TestOnlyTheGatewaysWordOnTheVerbCounts(t *testing.T) {
	c := apitest.Start(t)
	admin := c.Client(apitest.Admin)
	ann := identity.User{Name: "ann"}
	in := metav1.ObjectMeta{Name: "reader", Namespace: "default"}
	for _, obj := range []client.Object{
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		&rbacv1.Role{ObjectMeta: in, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"services/proxy"}, ResourceNames: []string{"http:web:80"}}}},
		&rbacv1.RoleBinding{ObjectMeta: in, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann", APIGroup: rbacv1.GroupName}}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"}},
	} {
		require.NoError(t, admin.Create(t.Context(), obj))
	}
	gateway := c.Conn(identity.User{Name: identity.UserGateway})
	asAnn := metadata.AppendToOutgoingContext(t.Context(), "x-remote-user", "ann")
	start := &apiv1.TunnelStart{Target: apiv1.TunnelStart_TARGET_SERVICE, Namespace: "default", Name: "http:web:80", Verb: "get"}
	const reached, refused = `no endpoints available for service "web"`, `services "http:web:80" is forbidden: User "ann" cannot create resource "services/proxy" in API group "" in the namespace "default"`
	require.Eventually(t, func() bool { return open(asAnn, t, gateway, start) == reached }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, refused, open(t.Context(), t, c.Conn(ann), start), "the bytes in the tunnel may be another request")
	start.Verb = "create"
	require.Equal(t, refused, open(asAnn, t, gateway, start))
	require.Equal(t, reached, open(t.Context(), t, c.Conn(apitest.Admin), start))

	start.Target = apiv1.TunnelStart_TARGET_API_SERVICE
	require.Contains(t, open(t.Context(), t, c.Conn(apitest.Admin), start), "only system:karve-gateway may ask")
	_, err := apiv1.NewTunnelServiceClient(c.Conn(apitest.Admin)).Admit(t.Context(), &apiv1.AdmitRequest{Verb: "get", Path: "/x"})
	require.ErrorContains(t, err, "only system:karve-gateway may ask")
}
