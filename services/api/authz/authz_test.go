package authz

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/identity"
)

// bootstrapped returns an authorizer with the default policy, and admin, edit and view aggregated as the controller
// of that name does it.
func bootstrapped(t testing.TB, more ...Object) *Authorizer {
	t.Helper()
	a := New(Config{})
	policy := BootstrapPolicy()
	for _, o := range append(policy.Objects(), more...) {
		a.Update(o)
	}
	return a
}

func user(name string, groups ...string) identity.User {
	return identity.User{Name: name, Groups: append(groups, identity.GroupAuthenticated)}
}

func request(u identity.User, verb, group, resource, namespace, name string) Attributes {
	return Attributes{User: u, Verb: verb, Group: group, Version: "v1", Resource: resource, Namespace: namespace, Name: name}
}

func allowed(t *testing.T, a *Authorizer, attrs Attributes) bool {
	t.Helper()
	ok, _, err := a.Authorize(t.Context(), attrs)
	require.NoError(t, err)
	return ok
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) Object {
	if namespace == "" {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	}
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules}
}

func bound(namespace, roleKind, roleName, subjects string) Object {
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: roleKind, Name: roleName}
	name := roleName + "-binding"
	if namespace == "" {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref, Subjects: parseSubjects(subjects)}
	}
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: ref, Subjects: parseSubjects(subjects)}
}

func TestRolesGrantWhatTheirRulesSay(t *testing.T) {
	a := bootstrapped(t,
		role("team", "reader", on("get list", "core", "pods pods/log"), on("get", "core", "configmaps", "one")),
		bound("team", "Role", "reader", "user:jane sa:team/robot"),
		role("", "scaler", on("update", "*", "*/scale")),
		bound("", "ClusterRole", "scaler", "group:ops"),
	)
	jane, robot, op := user("jane"), user("system:serviceaccount:team:robot"), user("joe", "ops")
	log := request(jane, "get", "", "pods", "team", "x")
	log.Subresource = "log"
	scale := request(op, "update", "apps", "deployments", "any", "x")
	scale.Subresource = "scale"
	for _, c := range []struct {
		what  string
		want  bool
		attrs Attributes
	}{
		{"a verb of the rule", true, request(jane, "list", "", "pods", "team", "")},
		{"a service account as subject", true, request(robot, "list", "", "pods", "team", "")},
		{"a subresource of the rule", true, log},
		{"another verb", false, request(jane, "delete", "", "pods", "team", "x")},
		{"another namespace", false, request(jane, "list", "", "pods", "other", "")},
		{"all namespaces", false, request(jane, "list", "", "pods", "", "")},
		{"another group", false, request(jane, "list", "metrics.k8s.io", "pods", "team", "")},
		{"the object that is named", true, request(jane, "get", "", "configmaps", "team", "one")},
		{"an object that is not", false, request(jane, "get", "", "configmaps", "team", "two")},
		{"a subresource of every kind", true, scale},
		{"but not the kind itself", false, request(op, "update", "apps", "deployments", "any", "x")},
		{"somebody else", false, request(user("eve"), "list", "", "pods", "team", "")},
		{"masters", true, request(user("root", identity.GroupMasters), "anything", "x", "y", "", "")},
	} {
		require.Equal(t, c.want, allowed(t, a, c.attrs), c.what)
	}
	a.Remove(bound("team", "Role", "reader", ""))
	require.False(t, allowed(t, a, request(jane, "list", "", "pods", "team", "")), "after the binding has gone")
}

func TestAnonymousSeesHealthOnly(t *testing.T) {
	a := bootstrapped(t)
	anonymous := identity.User{Name: identity.UserAnonymous, Groups: []string{identity.GroupUnauthenticated}}
	require.True(t, allowed(t, a, Attributes{User: anonymous, Verb: "get", Path: "/version"}))
	require.False(t, allowed(t, a, Attributes{User: anonymous, Verb: "get", Path: "/apis/apps"}))
	require.True(t, allowed(t, a, Attributes{User: user("jane"), Verb: "get", Path: "/apis/apps"}))
	require.False(t, allowed(t, a, Attributes{User: user("jane"), Verb: "get", Path: "/metrics"}))
	require.False(t, allowed(t, a, request(anonymous, "list", "", "pods", "default", "")))
}

func TestForbiddenSpeaksAsKubernetesDoes(t *testing.T) {
	for want, attrs := range map[string]Attributes{
		`pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"`:                             request(user("jane"), "list", "", "pods", "default", ""),
		`deployments.apps "web" is forbidden: User "jane" cannot delete resource "deployments" in API group "apps" in the namespace "shop"`: request(user("jane"), "delete", "apps", "deployments", "shop", "web"),
		`nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope`:                                 request(user("jane"), "list", "", "nodes", "", ""),
		`forbidden: User "jane" cannot get path "/metrics"`:                                                                                 {User: user("jane"), Verb: "get", Path: "/metrics"},
	} {
		err := Forbidden(attrs, "")
		require.True(t, apierrors.IsForbidden(err))
		require.EqualError(t, err, want)
	}
}

func TestNobodyGrantsMoreThanTheyHold(t *testing.T) {
	a := bootstrapped(t,
		role("", "team-admin", on("*", "rbac.authorization.k8s.io", "roles rolebindings"), on("get list", "core", "pods")),
		bound("team", "ClusterRole", "team-admin", "user:jane"),
		role("", "binder", on("bind", "rbac.authorization.k8s.io", "clusterroles", "cluster-admin")),
		bound("", "ClusterRole", "binder", "user:bob"),
	)
	jane := user("jane")
	require.NoError(t, a.CheckGrant(t.Context(), jane, role("team", "r", on("get", "core", "pods")), nil))
	// "*" on roles includes escalate and bind, as in Kubernetes: so the next user gets plain verbs.
	a.Update(role("", "team-admin", on("create update", "rbac.authorization.k8s.io", "roles rolebindings"), on("get list", "core", "pods")))
	require.NoError(t, a.CheckGrant(t.Context(), jane, role("team", "r", on("get", "core", "pods")), nil))
	err := a.CheckGrant(t.Context(), jane, role("team", "r", on("get delete", "core", "pods")), nil)
	require.True(t, apierrors.IsForbidden(err))
	require.ErrorContains(t, err, `user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["get", "delete"]}`)
	require.NoError(t, a.CheckGrant(t.Context(), jane, role("team", "r", on("*", "*", "*")), role("team", "r", on("*", "*", "*"))), "rules that stay as they are")
	require.True(t, apierrors.IsForbidden(a.CheckGrant(t.Context(), jane, bound("team", "ClusterRole", "cluster-admin", "user:jane"), nil)))
	require.NoError(t, a.CheckGrant(t.Context(), user("bob"), bound("", "ClusterRole", "cluster-admin", "user:bob"), nil))
	require.True(t, apierrors.IsNotFound(a.CheckGrant(t.Context(), jane, bound("team", "Role", "nowhere", "user:jane"), nil)))
	require.NoError(t, a.CheckGrant(t.Context(), user("root", identity.GroupMasters), bound("", "ClusterRole", "cluster-admin", "user:x"), nil))
}

func TestReconcileAddsAndNeverTakesAway(t *testing.T) {
	have := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r", Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"}}, Rules: rules(on("get", "core", "pods"), on("get", "core", "mine"))}
	want := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Rules: rules(on("get", "core", "pods"), on("list", "core", "pods"))}
	change := Merge(have, want)
	require.NotNil(t, change)
	require.Equal(t, rules(on("get", "core", "pods"), on("get", "core", "mine"), on("list", "core", "pods")), change.Object.(*rbacv1.ClusterRole).Rules)
	require.Nil(t, Merge(change.Object, want), "a second time there is nothing to do")
	have.Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
	require.Nil(t, Merge(have, want), "a role that somebody keeps for themselves")
	for _, o := range BootstrapPolicy().Objects() {
		require.Nil(t, Merge(o, o), o.GetName())
	}
}

// onePod is a cluster of one pod.
type onePod struct{ pod *corev1.Pod }

func (o onePod) Pod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	if o.pod.Namespace == namespace && o.pod.Name == name {
		return o.pod, nil
	}
	return nil, nil
}

func (o onePod) PodsOnNode(_ context.Context, node string) ([]*corev1.Pod, error) {
	if o.pod.Spec.NodeName == node {
		return []*corev1.Pod{o.pod}, nil
	}
	return nil, nil
}

func TestNodesReachOnlyWhatTheirPodsUse(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web"}, Spec: corev1.PodSpec{
		NodeName: "n1", ServiceAccountName: "robot",
		Containers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "env"}}}}}},
	}}
	a := New(Config{Pods: onePod{pod}})
	n1, n2 := user("system:node:n1", identity.GroupNodes), user("system:node:n2", identity.GroupNodes)
	mine := request(n1, "list", "", "pods", "", "")
	mine.FieldSelector = "spec.nodeName=n1"
	token := request(n1, "create", "", "serviceaccounts", "team", "robot")
	token.Subresource = "token"
	for _, c := range []struct {
		what  string
		want  bool
		attrs Attributes
	}{
		{"its node", true, request(n1, "update", "", "nodes", "", "n1")},
		{"another node", false, request(n1, "update", "", "nodes", "", "n2")},
		{"its lease", true, request(n1, "update", "coordination.k8s.io", "leases", "kube-node-lease", "n1")},
		{"another lease", false, request(n1, "update", "coordination.k8s.io", "leases", "kube-system", "n1")},
		{"its pods", true, mine},
		{"every pod", false, request(n1, "list", "", "pods", "", "")},
		{"its pod", true, request(n1, "get", "", "pods", "team", "web")},
		{"another node's pod", false, request(n2, "get", "", "pods", "team", "web")},
		{"its pod's secret", true, request(n1, "get", "", "secrets", "team", "env")},
		{"another secret", false, request(n1, "get", "", "secrets", "team", "other")},
		{"all secrets", false, request(n1, "list", "", "secrets", "team", "")},
		{"another node's pod's secret", false, request(n2, "get", "", "secrets", "team", "env")},
		{"its pod's token", true, token},
		{"a node in name only", false, request(user("system:node:n1"), "get", "", "secrets", "team", "env")},
	} {
		require.Equal(t, c.want, allowed(t, a, c.attrs), c.what)
	}
}

func TestNodesWriteOnlyThemselves(t *testing.T) {
	a := New(Config{})
	attrs := request(user("system:node:n1", identity.GroupNodes), "create", "", "nodes", "", "")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelHostname: "n1", "mine": "x", "node.kubernetes.io/x": "y"}}}
	require.NoError(t, a.RestrictNode(t.Context(), attrs, node, nil))
	node.Labels["node-role.kubernetes.io/control-plane"] = ""
	require.ErrorContains(t, a.RestrictNode(t.Context(), attrs, node, nil), "is not allowed to set the following labels: node-role.kubernetes.io/control-plane")
	require.NoError(t, a.RestrictNode(t.Context(), attrs, node, node.DeepCopy()), "labels that an administrator set may stay")
	require.Error(t, a.RestrictNode(t.Context(), attrs, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, nil))
	require.Error(t, a.RestrictNode(t.Context(), attrs, &corev1.Pod{}, nil), "a pod that is no mirror")
}

func BenchmarkAuthorize(b *testing.B) {
	var more []Object
	for i := range 1000 {
		ns := fmt.Sprintf("team-%d", i)
		more = append(more, role(ns, "dev", on("get list watch", "core", "pods configmaps secrets"), on("*", "apps", "*")), bound(ns, "Role", "dev", "group:dev user:jane sa:"+ns+"/robot"))
	}
	a := bootstrapped(b, more...)
	for name, attrs := range map[string]Attributes{
		"controllers":    request(user(identity.UserControllers), "update", "apps", "deployments", "team-7", "web"),
		"serviceaccount": request(user("system:serviceaccount:team-7:robot", identity.ServiceAccountGroups("team-7")...), "list", "", "pods", "team-7", ""),
		"refused":        request(user("eve", "dev"), "delete", "", "pods", "team-7", "x"),
		"masters":        request(user("root", identity.GroupMasters), "list", "", "pods", "team-7", ""),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := a.Authorize(b.Context(), attrs); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
