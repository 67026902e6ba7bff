package authz_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/apitest"
)

// may gives a user rights, and waits until they hold.
func may(t *testing.T, c *apitest.Cluster, name string, rules ...rbacv1.PolicyRule) *client.Client {
	t.Helper()
	admin := c.Client(apitest.Admin)
	require.NoError(t, admin.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}))
	require.NoError(t, admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
	}))
	user := c.Client(identity.User{Name: name})
	last := rules[len(rules)-1]
	require.Eventually(t, func() bool {
		resource, subresource, _ := strings.Cut(last.Resources[0], "/")
		ask := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: last.Verbs[0], Group: last.APIGroups[0], Resource: resource, Subresource: subresource, Name: strings.Join(last.ResourceNames, ""),
		}}}
		require.NoError(t, user.Create(t.Context(), ask))
		return ask.Status.Allowed
	}, 10*time.Second, time.Millisecond)
	return user
}

func TestOwnersAreNamedByThoseWhoMayActOnThem(t *testing.T) {
	c := apitest.Start(t)
	admin, ctx := c.Client(apitest.Admin), t.Context()
	writes := rbacv1.PolicyRule{Verbs: []string{"get", "create", "update"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}
	jane := may(t, c, "jane", writes)
	joe := may(t, c, "joe", writes, rbacv1.PolicyRule{Verbs: []string{"delete"}, APIGroups: []string{""}, Resources: []string{"configmaps"}},
		rbacv1.PolicyRule{Verbs: []string{"update"}, APIGroups: []string{""}, Resources: []string{"configmaps/finalizers"}})
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner", Namespace: "default"}}
	require.NoError(t, admin.Create(ctx, owner))
	owned := func(name string, blocks bool) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID, BlockOwnerDeletion: &blocks},
		}}}
	}
	require.NoError(t, jane.Create(ctx, owned("a", false)))
	require.ErrorContains(t, jane.Create(ctx, owned("b", true)),
		`configmaps "b" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: `)
	require.NoError(t, joe.Create(ctx, owned("b", true)))
	strange := owned("c", true)
	strange.OwnerReferences[0].Kind = "Nothing"
	require.ErrorContains(t, joe.Create(ctx, strange),
		`cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Nothing: no matches for kind "Nothing" in version "v1"`)

	plain := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "plain", Namespace: "default"}}
	require.NoError(t, admin.Create(ctx, plain))
	plain.OwnerReferences = owned("x", false).OwnerReferences
	require.ErrorContains(t, jane.Update(ctx, plain.DeepCopy()), `configmaps "plain" is forbidden: cannot set an ownerRef on a resource you can't delete: `)
	require.NoError(t, joe.Update(ctx, plain))
	plain.Data = map[string]string{"a": "b"}
	require.NoError(t, jane.Update(ctx, plain), "what is left as it is needs no right")
}
