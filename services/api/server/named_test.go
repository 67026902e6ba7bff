package server_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/apitest"
)

// Clients of a single object list and watch it by its name, as the servers of aggregated APIs do with the ConfigMap that
// tells them whom to believe.
func TestWhoMayReadOneObjectMayListIt(t *testing.T) {
	c := apitest.Start(t)
	admin, ann := c.Client(apitest.Admin), c.Client(identity.User{Name: "ann"})
	in := metav1.ObjectMeta{Name: "reader", Namespace: "default"}
	require.NoError(t, admin.Create(t.Context(), &rbacv1.Role{ObjectMeta: in, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"list", "watch"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"one"}},
	}}))
	require.NoError(t, admin.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: in, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann", APIGroup: rbacv1.GroupName}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
	}))
	list := func(selector string) error {
		return ann.List(t.Context(), &corev1.ConfigMapList{}, client.ListOptions{Namespace: "default", FieldSelector: selector})
	}
	require.Eventually(t, func() bool { return list("metadata.name=one") == nil }, 10*time.Second, 10*time.Millisecond)
	_, err := ann.Watch(t.Context(), &corev1.ConfigMap{}, client.ListOptions{Namespace: "default", FieldSelector: "metadata.name=one"}, "0")
	require.NoError(t, err)
	require.ErrorContains(t, list("metadata.name=two"), `configmaps "two" is forbidden`)
	require.ErrorContains(t, list("metadata.name!=two"), `User "ann" cannot list resource "configmaps"`)
	require.ErrorContains(t, list(""), `User "ann" cannot list resource "configmaps"`)
}
