package lifecycle_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/lifecycle"
)

// world is an API with the lifecycle service and nothing else.
type world struct {
	*testing.T
	ca    string
	admin *client.Client
	api   *apitest.Cluster
}

func start(t *testing.T) *world {
	t.Helper()
	c := apitest.Start(t)
	log := zap.NewNop()
	if testing.Verbose() {
		log = zaptest.NewLogger(t)
	}
	// As its own user: this is a test of its rights, too.
	user := identity.User{Name: identity.UserControllers}
	set := informer.NewSet(c.Client(user), log)
	s, err := lifecycle.New(lifecycle.Config{Client: c.Client(user), Conn: c.Conn(user), Informers: set, RootCA: c.Identity.CAPEM(), Log: log})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{set.Run, s.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return &world{T: t, ca: string(c.Identity.CAPEM()), admin: c.Client(apitest.Admin), api: c}
}

func (w *world) create(obj client.Object) {
	w.Helper()
	require.NoError(w, w.admin.Create(w.Context(), obj))
}

// eventually waits until check is true.
func (w *world) eventually(what string, check func() bool) {
	w.Helper()
	require.Eventually(w, check, 10*time.Second, 5*time.Millisecond, what)
}

func (w *world) gone(obj client.Object) bool {
	w.Helper()
	err := w.admin.Get(w.Context(), obj, obj.GetNamespace(), obj.GetName())
	require.True(w, err == nil || apierrors.IsNotFound(err), "%v", err)
	return err != nil
}

func configMap(namespace, name string, owners ...client.Object) *corev1.ConfigMap {
	out := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, o := range owners {
		gvk, err := client.KindOf(o)
		if err != nil {
			panic(err)
		}
		yes := true
		out.OwnerReferences = append(out.OwnerReferences, metav1.OwnerReference{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Name: o.GetName(), UID: o.GetUID(), BlockOwnerDeletion: &yes})
	}
	return out
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func TestANewNamespaceGetsItsDefaults(t *testing.T) {
	w := start(t)
	w.create(namespace("team"))
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "default"}}
	published := configMap("team", "kube-root-ca.crt")
	w.eventually("service account", func() bool { return !w.gone(account) })
	w.eventually("CA", func() bool { return !w.gone(published) })
	require.Equal(t, w.ca, published.Data["ca.crt"])

	require.NoError(t, w.admin.Delete(t.Context(), account, client.DeleteOptions{}))
	w.eventually("service account again", func() bool { return !w.gone(account) })
	published.Data["ca.crt"] = "mine"
	require.NoError(t, w.admin.Update(t.Context(), published))
	bundles := &certificatesv1.ClusterTrustBundleList{}
	w.eventually("trust bundle", func() bool {
		require.NoError(t, w.admin.List(t.Context(), bundles, client.ListOptions{FieldSelector: "spec.signerName=kubernetes.io/kube-apiserver-serving"}))
		return len(bundles.Items) == 1 && bundles.Items[0].Spec.TrustBundle == w.ca
	})
	w.eventually("CA again", func() bool { return !w.gone(published) && published.Data["ca.crt"] == w.ca })
}

func TestADeletedNamespaceIsEmptiedFirst(t *testing.T) {
	w := start(t)
	ns := namespace("team")
	w.create(ns)
	replicas := int32(1)
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	w.create(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, Template: template}})
	w.create(&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "e"}, InvolvedObject: corev1.ObjectReference{Namespace: "team", Kind: "Pod", Name: "x"}})
	held := configMap("team", "held")
	held.Finalizers = []string{"example.org/hold"}
	w.create(held)
	require.NoError(t, w.admin.Delete(t.Context(), ns, client.DeleteOptions{}))
	w.eventually("deployment", func() bool {
		return w.gone(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web"}})
	})
	w.eventually("conditions that say why", func() bool {
		require.False(t, w.gone(ns), "the namespace must wait for its content")
		return slices.ContainsFunc(ns.Status.Conditions, func(c corev1.NamespaceCondition) bool {
			return c.Type == corev1.NamespaceFinalizersRemaining && c.Message == "Some content in the namespace has finalizers remaining: example.org/hold in 1 resource instances"
		})
	})
	require.NoError(t, w.admin.Get(t.Context(), held, "team", "held"))
	held.Finalizers = nil
	require.NoError(t, w.admin.Update(t.Context(), held))
	w.eventually("namespace", func() bool { return w.gone(ns) })
}

func TestGarbageFollowsItsOwner(t *testing.T) {
	w := start(t)
	owner, other := configMap("default", "owner"), configMap("default", "other")
	w.create(owner)
	w.create(other)
	child, shared := configMap("default", "child", owner), configMap("default", "shared", owner, other)
	w.create(child)
	grandchild := configMap("default", "grandchild", child)
	w.create(grandchild)
	w.create(shared)
	require.NoError(t, w.admin.Delete(t.Context(), owner, client.DeleteOptions{}))
	w.eventually("child", func() bool { return w.gone(child) })
	w.eventually("grandchild", func() bool { return w.gone(grandchild) })
	w.eventually("an object with another owner stays, and names only that", func() bool {
		require.False(t, w.gone(shared))
		return len(shared.OwnerReferences) == 1 && shared.OwnerReferences[0].UID == other.UID
	})
	// Owners that never were, or that another object is called like.
	ghost := configMap("default", "other")
	ghost.UID = types.UID("no-such-uid")
	late := configMap("default", "late", ghost)
	w.create(late)
	w.eventually("an object whose owner was replaced", func() bool { return w.gone(late) })
}

func TestForegroundAndOrphanDeletion(t *testing.T) {
	w := start(t)
	owner := configMap("default", "owner")
	w.create(owner)
	child := configMap("default", "child", owner)
	child.Finalizers = []string{"example.org/hold"}
	w.create(child)
	require.NoError(t, w.admin.Delete(t.Context(), owner, client.DeleteOptions{Propagation: metav1.DeletePropagationForeground}))
	w.eventually("child is going", func() bool { return !w.gone(child) && child.DeletionTimestamp != nil })
	require.False(t, w.gone(owner), "the owner waits")
	child.Finalizers = nil
	require.NoError(t, w.admin.Update(t.Context(), child))
	w.eventually("owner", func() bool { return w.gone(owner) })
	require.True(t, w.gone(child))

	owner = configMap("default", "owner2")
	w.create(owner)
	child = configMap("default", "child2", owner)
	w.create(child)
	require.NoError(t, w.admin.Delete(t.Context(), owner, client.DeleteOptions{Propagation: metav1.DeletePropagationOrphan}))
	w.eventually("owner", func() bool { return w.gone(owner) })
	require.False(t, w.gone(child))
	require.Empty(t, child.OwnerReferences)
}

func TestClusterRolesAreAggregated(t *testing.T) {
	w := start(t)
	view := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "view"}}
	w.eventually("view", func() bool { return !w.gone(view) && len(view.Rules) > 0 })
	mine := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{"example.org"}, Resources: []string{"things"}}
	w.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "mine", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}}, Rules: []rbacv1.PolicyRule{mine}})
	for _, name := range []string{"view", "edit", "admin"} {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
		w.eventually(name, func() bool {
			require.False(t, w.gone(role))
			return slices.ContainsFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Equal(r.Resources, mine.Resources) })
		})
	}
}

func TestPodsOfNoNodeAreRemoved(t *testing.T) {
	w := start(t)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Finalizers: []string{"example.org/hold"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	w.create(pod)
	require.NoError(t, w.admin.Delete(t.Context(), pod, client.DeleteOptions{}))
	w.eventually("a failed pod", func() bool { return !w.gone(pod) && pod.Status.Phase == corev1.PodFailed })
}
