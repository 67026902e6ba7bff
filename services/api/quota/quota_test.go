package quota_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
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

func TestManyWritesShareFewCommits(t *testing.T) {
	counted := &countingStore{Store: memstore.New()}
	w := newWorld(t, func(c *api.Config) { c.Store = counted })
	w.create(newQuota("q", hard("count/configmaps", "1000"), nil))
	counted.delay.Store(int64(2 * time.Millisecond))
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
	delay   atomic.Int64 // nanoseconds
}

func (s *countingStore) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	s.commits.Add(1)
	if delay := time.Duration(s.delay.Load()); delay > 0 {
		<-time.After(delay)
	}
	return s.Store.Commit(ctx, ops...)
}
