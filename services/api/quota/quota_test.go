package quota_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/etcdstore"
	"karve.dev/karve/services/api/store/memstore"
)

// hard are limits, as "name", "amount", …
func hard(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func newQuota(name string, limits corev1.ResourceList, change func(*corev1.ResourceQuotaSpec)) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ResourceQuotaSpec{Hard: limits}}
	if change != nil {
		change(&q.Spec)
	}
	return q
}

func newPod(name string, requests corev1.ResourceList, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: requests}}},
	}}
	if change != nil {
		change(p)
	}
	return p
}

type world struct {
	*apitest.Cluster
	*client.Client
	t *testing.T
}

func newWorld(t *testing.T, options ...apitest.Option) *world {
	c := apitest.Start(t, options...)
	return &world{c, c.Client(apitest.Admin), t}
}

func (w *world) create(obj client.Object) {
	w.t.Helper()
	require.NoError(w.t, w.Create(w.t.Context(), obj))
}

// refused creates an object and returns why it was forbidden.
func (w *world) refused(obj client.Object) string {
	w.t.Helper()
	err := w.Create(w.t.Context(), obj)
	require.True(w.t, apierrors.IsForbidden(err), "%v", err)
	return err.Error()
}

// used waits until a quota's status says what is used.
func (w *world) used(name string, want corev1.ResourceList) {
	w.t.Helper()
	q := &corev1.ResourceQuota{}
	require.Eventually(w.t, func() bool {
		require.NoError(w.t, w.Get(w.t.Context(), q, "default", name))
		for resource, amount := range want {
			if got, ok := q.Status.Used[resource]; !ok || got.Cmp(amount) != 0 {
				return false
			}
		}
		return len(q.Status.Used) == len(want)
	}, 10*time.Second, 5*time.Millisecond, "%v", &q.Status)
}

// replicas starts n API services over one store.
func replicas(t *testing.T, s store.Store, n int) []*client.Client {
	var out []*client.Client
	for range n {
		c := apitest.Start(t, func(c *api.Config) { c.Store = s })
		out = append(out, c.Client(apitest.Admin))
	}
	return out
}

func TestParallelCreatesNeverExceedAQuota(t *testing.T) {
	stores := map[string]func() store.Store{
		"memory": func() store.Store { return memstore.New() },
		"etcd": func() store.Store {
			s, err := etcdstore.Open(t.Context(), etcdstore.Config{DataDir: t.TempDir()})
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
	}
	for name, open := range stores {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s with %d API services", name, n), func(t *testing.T) {
				clients := replicas(t, open(), n)
				require.NoError(t, clients[0].Create(t.Context(), newQuota("ten", hard("pods", "10", "count/configmaps", "1000"), nil)))
				// The others hear of the quota a moment later.
				for _, c := range clients {
					require.NoError(t, c.Get(t.Context(), &corev1.ResourceQuota{}, "default", "ten"))
				}
				var admitted, refused atomic.Int32
				var wg sync.WaitGroup
				for i := range 64 {
					wg.Go(func() {
						switch err := clients[i%n].Create(t.Context(), newPod(fmt.Sprintf("p-%d", i), nil, nil)); {
						case err == nil:
							admitted.Add(1)
						case apierrors.IsForbidden(err):
							refused.Add(1)
						default:
							t.Errorf("create: %v", err)
						}
					})
				}
				wg.Wait()
				require.EqualValues(t, 10, admitted.Load())
				require.EqualValues(t, 54, refused.Load())
				q := &corev1.ResourceQuota{}
				require.NoError(t, clients[0].Get(t.Context(), q, "default", "ten"))
				require.Equal(t, int64(10), q.Status.Used.Pods().Value())
			})
		}
	}
}

func TestQuotasRefuseInKubernetesWords(t *testing.T) {
	w := newWorld(t)
	w.create(newQuota("compute", hard("pods", "2", "requests.cpu", "1", "limits.memory", "1Gi"), nil))
	using := func(cpu, memory string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: hard("cpu", cpu, "memory", "1Mi"), Limits: hard("memory", memory)}
		}
	}
	w.create(newPod("a", nil, using("600m", "512Mi")))
	w.used("compute", hard("pods", "1", "requests.cpu", "600m", "limits.memory", "512Mi"))
	require.Equal(t, `pods "b" is forbidden: exceeded quota: compute, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1`,
		w.refused(newPod("b", nil, using("600m", "1Mi"))))
	require.Equal(t, `pods "b" is forbidden: exceeded quota: compute, requested: limits.memory=1Gi,requests.cpu=500m, used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1`,
		w.refused(newPod("b", nil, using("500m", "1Gi"))))
	require.Equal(t, `pods "b" is forbidden: failed quota: compute: must specify limits.memory for: c; requests.cpu for: c`, w.refused(newPod("b", nil, nil)))
	w.create(newPod("b", nil, using("400m", "512Mi")))
	require.Equal(t, `pods "c" is forbidden: exceeded quota: compute, requested: limits.memory=1Mi,pods=1,requests.cpu=1m, used: limits.memory=1Gi,pods=2,requests.cpu=1, limited: limits.memory=1Gi,pods=2,requests.cpu=1`,
		w.refused(newPod("c", nil, using("1m", "1Mi"))))
}

func TestWhatObjectsGiveBack(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.create(newQuota("q", hard("pods", "2", "count/pods", "10"), nil))
	ended, gone := newPod("ended", nil, nil), newPod("gone", nil, nil)
	w.create(ended)
	w.create(gone)
	w.refused(newPod("third", nil, nil))
	ended.Status.Phase = corev1.PodSucceeded
	require.NoError(t, w.UpdateStatus(ctx, ended))
	w.used("q", hard("pods", "1", "count/pods", "2"))
	require.NoError(t, w.Delete(ctx, gone, client.DeleteOptions{}))
	w.used("q", hard("pods", "0", "count/pods", "1"))
	w.create(newPod("third", nil, nil))
	w.used("q", hard("pods", "1", "count/pods", "2"))

	// Other limits are in force at once, whatever is used.
	q := &corev1.ResourceQuota{}
	require.NoError(t, w.Get(ctx, q, "default", "q"))
	q.Spec.Hard = hard("pods", "1", "secrets", "0")
	require.NoError(t, w.Update(ctx, q))
	require.Contains(t, w.refused(newPod("fourth", nil, nil)), "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1")
	require.Contains(t, w.refused(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}}), "exceeded quota: q, requested: secrets=1, used: secrets=0, limited: secrets=0")
	w.used("q", hard("pods", "1", "secrets", "0"))
	require.NoError(t, w.Delete(ctx, q, client.DeleteOptions{}))
	w.create(newPod("fourth", nil, nil))
}

func TestDryRunsTakeNothing(t *testing.T) {
	w := newWorld(t)
	w.create(newQuota("q", hard("count/configmaps", "2"), nil))
	rpc := apiv1.NewResourceServiceClient(w.Conn(apitest.Admin))
	dry := func(name string) error {
		_, err := rpc.Create(t.Context(), &apiv1.CreateRequest{
			Ref:     &apiv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", Namespace: "default"},
			Object:  &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"}}`)},
			Options: &apiv1.WriteOptions{DryRun: true},
		})
		return apierr.FromGRPC(err)
	}
	for range 5 {
		require.NoError(t, dry("m"))
	}
	for _, name := range []string{"a", "b"} {
		w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}})
	}
	require.ErrorContains(t, dry("m"), "exceeded quota: q")
	// A create that fails for its name takes nothing either.
	require.NoError(t, w.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "default"}}, client.DeleteOptions{}))
	w.used("q", hard("count/configmaps", "1"))
	require.True(t, apierrors.IsAlreadyExists(w.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}})))
	w.used("q", hard("count/configmaps", "1"))
}

func TestEveryCountableResource(t *testing.T) {
	w := newWorld(t)
	limits := hard(
		"services", "10", "services.nodeports", "3", "services.loadbalancers", "1", "count/services", "10",
		"persistentvolumeclaims", "10", "requests.storage", "10Gi", "gold.storageclass.storage.k8s.io/requests.storage", "2Gi",
		"gold.storageclass.storage.k8s.io/persistentvolumeclaims", "5", "configmaps", "10", "count/deployments.apps", "1",
		"requests.example.com/gpu", "2", "count/resourceclaims.resource.k8s.io", "5", "fast.deviceclass.resource.k8s.io/devices", "4",
	)
	w.create(newQuota("all", limits, nil))
	service := func(name string, kind corev1.ServiceType, ports int) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ServiceSpec{Type: kind}}
		for i := range ports {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("p%d", i), Port: int32(80 + i)})
		}
		return s
	}
	claim := func(name, class, size string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: hard("storage", size)},
		}}
	}
	inside := service("inside", corev1.ServiceTypeClusterIP, 3)
	w.create(inside)
	w.create(service("outside", corev1.ServiceTypeLoadBalancer, 1))
	require.Contains(t, w.refused(service("more", corev1.ServiceTypeLoadBalancer, 1)), "requested: services.loadbalancers=1, used: services.loadbalancers=1")
	inside.Spec.Type = corev1.ServiceTypeNodePort
	require.ErrorContains(t, w.Update(t.Context(), inside), "exceeded quota: all, requested: services.nodeports=3, used: services.nodeports=1, limited: services.nodeports=3")

	w.create(claim("a", "gold", "1Gi"))
	w.create(claim("b", "lead", "4Gi"))
	require.Contains(t, w.refused(claim("c", "gold", "2Gi")), "gold.storageclass.storage.k8s.io/requests.storage=2Gi, used: gold.storageclass.storage.k8s.io/requests.storage=1Gi")

	w.create(newDeployment("d"))
	require.Contains(t, w.refused(newDeployment("e")), `deployments.apps "e" is forbidden: exceeded quota: all, requested: count/deployments.apps=1`)

	gpu := hard("example.com/gpu", "2")
	w.create(newPod("p", gpu, func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = gpu }))
	require.Contains(t, w.refused(newPod("q", gpu, func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = gpu })), "requests.example.com/gpu=2, used: requests.example.com/gpu=2")

	w.create(newDeviceClaim("x", 3))
	require.Contains(t, w.refused(newDeviceClaim("y", 2)), "fast.deviceclass.resource.k8s.io/devices=2, used: fast.deviceclass.resource.k8s.io/devices=3")

	w.used("all", hard(
		"services", "3", "services.nodeports", "1", "services.loadbalancers", "1", "count/services", "3",
		"persistentvolumeclaims", "2", "requests.storage", "5Gi", "gold.storageclass.storage.k8s.io/requests.storage", "1Gi",
		"gold.storageclass.storage.k8s.io/persistentvolumeclaims", "1", "configmaps", "0", "count/deployments.apps", "1",
		"requests.example.com/gpu", "2", "count/resourceclaims.resource.k8s.io", "1", "fast.deviceclass.resource.k8s.io/devices", "3",
	))
}

func newDeployment(name string) *appsv1.Deployment {
	labels := map[string]string{"a": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("", nil, nil).Spec},
	}}
}

func newDeviceClaim(name string, n int64) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: resourcev1.ResourceClaimSpec{
		Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{
			DeviceClassName: "fast", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n,
		}}}},
	}}
}

func TestScopes(t *testing.T) {
	deadline := int64(60)
	withDeadline := func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &deadline }
	elsewhere := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: "t", Namespaces: []string{"other"}, LabelSelector: &metav1.LabelSelector{},
		}}}}
	}
	critical := func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" }
	scoped := func(scope corev1.ResourceQuotaScope) func(*corev1.ResourceQuotaSpec) {
		return func(s *corev1.ResourceQuotaSpec) { s.Scopes = []corev1.ResourceQuotaScope{scope} }
	}
	ofClass := func(op corev1.ScopeSelectorOperator, names ...string) func(*corev1.ResourceQuotaSpec) {
		return func(s *corev1.ResourceQuotaSpec) {
			s.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
				{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: op, Values: names},
			}}
		}
	}
	cpu := hard("cpu", "1")
	for _, c := range []struct {
		name            string
		scope           func(*corev1.ResourceQuotaSpec)
		inside, outside *corev1.Pod
	}{
		{"terminating", scoped(corev1.ResourceQuotaScopeTerminating), newPod("in", nil, withDeadline), newPod("out", nil, nil)},
		{"not terminating", scoped(corev1.ResourceQuotaScopeNotTerminating), newPod("in", nil, nil), newPod("out", nil, withDeadline)},
		{"best effort", scoped(corev1.ResourceQuotaScopeBestEffort), newPod("in", nil, nil), newPod("out", cpu, nil)},
		{"not best effort", scoped(corev1.ResourceQuotaScopeNotBestEffort), newPod("in", cpu, nil), newPod("out", nil, nil)},
		{"affinity", scoped(corev1.ResourceQuotaScopeCrossNamespacePodAffinity), newPod("in", nil, elsewhere), newPod("out", nil, nil)},
		{"some class", ofClass(corev1.ScopeSelectorOpExists), newPod("in", nil, critical), newPod("out", nil, nil)},
		{"no class", ofClass(corev1.ScopeSelectorOpDoesNotExist), newPod("in", nil, nil), newPod("out", nil, critical)},
		{"this class", ofClass(corev1.ScopeSelectorOpIn, "system-node-critical"), newPod("in", nil, critical), newPod("out", nil, nil)},
		{"other classes", ofClass(corev1.ScopeSelectorOpNotIn, "system-node-critical"), newPod("in", nil, nil), newPod("out", nil, critical)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.create(newQuota("scoped", hard("pods", "0"), c.scope))
			w.create(c.outside)
			require.Contains(t, w.refused(c.inside), "exceeded quota: scoped, requested: pods=1, used: pods=0, limited: pods=0")
		})
	}
}

func TestManyWritesShareFewCommits(t *testing.T) {
	counted := &countingStore{Store: memstore.New()}
	w := newWorld(t, func(c *api.Config) { c.Store = counted })
	w.create(newQuota("q", hard("count/configmaps", "1000"), nil))
	counted.delay = 2 * time.Millisecond
	before := counted.commits.Load()
	var wg sync.WaitGroup
	const n = 200
	for i := range n {
		wg.Go(func() {
			err := w.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m-%d", i), Namespace: "default"}})
			if err != nil {
				t.Errorf("create: %v", err)
			}
		})
	}
	wg.Wait()
	w.used("q", hard("count/configmaps", fmt.Sprint(n)))
	require.Less(t, counted.commits.Load()-before, int64(n/4))
}

// countingStore counts commits, which take a while, as on a disk.
type countingStore struct {
	store.Store
	commits atomic.Int64
	delay   time.Duration
}

func (s *countingStore) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	s.commits.Add(1)
	if s.delay > 0 {
		<-time.After(s.delay)
	}
	return s.Store.Commit(ctx, ops...)
}

func TestResizesAreCharged(t *testing.T) {
	w := newWorld(t)
	w.create(newQuota("q", hard("requests.cpu", "1"), nil))
	p := newPod("p", hard("cpu", "400m"), nil)
	w.create(p)
	p.Spec.Containers[0].Resources.Requests = hard("cpu", "1200m")
	require.ErrorContains(t, w.UpdateSubresource(t.Context(), p.DeepCopy(), "resize"), "exceeded quota: q, requested: requests.cpu=800m, used: requests.cpu=400m, limited: requests.cpu=1")
	p.Spec.Containers[0].Resources.Requests = hard("cpu", "700m")
	require.NoError(t, w.UpdateSubresource(t.Context(), p, "resize"))
	w.used("q", hard("requests.cpu", "700m"))
}

func TestCustomObjectsAreCountedFromTheirFirstDay(t *testing.T) {
	w := newWorld(t)
	rpc := apiv1.NewResourceServiceClient(w.Conn(apitest.Admin))
	create := func(apiVersion, kind, namespace, object string) error {
		_, err := rpc.Create(t.Context(), &apiv1.CreateRequest{
			Ref:    &apiv1.ObjectRef{ApiVersion: apiVersion, Kind: kind, Namespace: namespace},
			Object: &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: []byte(object)},
		})
		return apierr.FromGRPC(err)
	}
	w.create(newQuota("q", hard("count/lamps.example.com", "1", "count/configmaps", "5"), nil))
	w.used("q", hard("count/configmaps", "0"))
	require.NoError(t, create("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
		"metadata":{"name":"lamps.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"lamps","kind":"Lamp"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`))
	lamp := func(name string) error {
		return create("example.com/v1", "Lamp", "default", `{"apiVersion":"example.com/v1","kind":"Lamp","metadata":{"name":"`+name+`"}}`)
	}
	require.Eventually(t, func() bool { return lamp("a") == nil }, 10*time.Second, 5*time.Millisecond)
	w.used("q", hard("count/configmaps", "0", "count/lamps.example.com", "1"))
	require.ErrorContains(t, lamp("b"), `lamps.example.com "b" is forbidden: exceeded quota: q, requested: count/lamps.example.com=1, used: count/lamps.example.com=1`)
	_, err := rpc.Delete(t.Context(), &apiv1.DeleteRequest{Ref: &apiv1.ObjectRef{ApiVersion: "example.com/v1", Kind: "Lamp", Namespace: "default", Name: "a"}})
	require.NoError(t, err)
	w.used("q", hard("count/configmaps", "0", "count/lamps.example.com", "0"))
}

func TestLostPodsAreNotChargedForever(t *testing.T) {
	w := newWorld(t)
	w.create(newQuota("q", hard("pods", "1"), nil))
	stuck := newPod("stuck", nil, func(p *corev1.Pod) { p.Finalizers = []string{"example.com/stuck"}; p.Spec.NodeName = "gone" })
	w.create(stuck)
	w.used("q", hard("pods", "1"))
	// It has a second to end, and is waited for as long again.
	grace := int64(1)
	require.NoError(t, w.Delete(t.Context(), stuck, client.DeleteOptions{GracePeriodSeconds: &grace}))
	w.used("q", hard("pods", "0"))
}
