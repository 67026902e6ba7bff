package api_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/apitest"
)

func TestTheDefaultPolicyIsStoredAndHolds(t *testing.T) {
	c := apitest.Start(t)
	role := &rbacv1.ClusterRole{}
	require.NoError(t, c.Client(apitest.Admin).Get(t.Context(), role, "", "cluster-admin"))
	require.Equal(t, "rbac-defaults", role.Labels["kubernetes.io/bootstrapping"])

	scheduler := c.Client(identity.User{Name: identity.UserScheduler})
	require.NoError(t, scheduler.List(t.Context(), &corev1.NodeList{}, client.ListOptions{}), "at once, without waiting for a watch")
	err := scheduler.List(t.Context(), &corev1.SecretList{}, client.ListOptions{})
	require.True(t, apierrors.IsForbidden(err))
	require.EqualError(t, err, `secrets is forbidden: User "system:kube-scheduler" cannot list resource "secrets" in API group "" at the cluster scope`)
}

func TestNobodyWritesMoreRightsThanTheyHold(t *testing.T) {
	c := apitest.Start(t)
	admin, jane := c.Client(apitest.Admin), c.Client(identity.User{Name: "jane"})
	require.NoError(t, admin.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "keeper"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"create"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}},
		{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}},
	}}))
	require.NoError(t, admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "keeper"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "keeper"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "jane"}},
	}))
	role := func(name, resource string) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{resource}}}}
	}
	require.Eventually(t, func() bool { return jane.Create(t.Context(), role("mine", "pods")) == nil }, 5*time.Second, time.Millisecond)
	err := jane.Create(t.Context(), role("more", "secrets"))
	require.True(t, apierrors.IsForbidden(err))
	require.ErrorContains(t, err, "is attempting to grant RBAC permissions not currently held:\n"+`{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}`)
	err = jane.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "root"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "jane"}},
	})
	require.True(t, apierrors.IsForbidden(err))
}

func TestANodeWritesItselfOnly(t *testing.T) {
	c := apitest.Start(t)
	node := c.Client(identity.User{Name: "system:node:n1", Groups: []string{identity.GroupNodes}})
	n1 := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	require.NoError(t, node.Create(t.Context(), n1))
	n1.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	require.NoError(t, node.UpdateStatus(t.Context(), n1))
	require.True(t, apierrors.IsForbidden(node.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})))
	n1.Labels = map[string]string{"node-role.kubernetes.io/control-plane": ""}
	require.True(t, apierrors.IsForbidden(node.Update(t.Context(), n1)))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	require.True(t, apierrors.IsForbidden(node.Create(t.Context(), pod)), "a pod that is no mirror of a local one")
}
