package quota_test

import (
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
