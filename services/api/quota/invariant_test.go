package quota_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/memstore"
)

// At every revision of the store, what a quota says is used is at least what is there, and never above the limit.
func TestNothingIsEverStoredUnbooked(t *testing.T) {
	const limit = 20
	s := memstore.New()
	clients := replicas(t, s, 2)
	ctx := t.Context()
	require.NoError(t, clients[0].Create(ctx, newQuota("q", hard("count/configmaps", fmt.Sprint(limit)), nil)))
	require.NoError(t, clients[1].Get(ctx, &corev1.ResourceQuota{}, "default", "q"))
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			c := clients[worker%2]
			for range 30 {
				m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m-%d", rand.N(40)), Namespace: "default"}}
				var err error
				if rand.N(2) == 0 {
					err = c.Create(ctx, m)
				} else {
					err = c.Delete(ctx, m, client.DeleteOptions{})
				}
				if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	wg.Wait()
	last, err := s.Revision(ctx)
	require.NoError(t, err)
	checked := 0
	for revision := int64(1); revision <= last; revision++ {
		quotas, _, err := s.List(ctx, "/registry/core/resourcequotas/default/", store.ListOptions{Revision: revision})
		require.NoError(t, err)
		if len(quotas) == 0 {
			continue
		}
		q := &corev1.ResourceQuota{}
		require.NoError(t, codec.Decode(quotas[0].Value, revision, q))
		used, known := q.Status.Used["count/configmaps"]
		if !known {
			continue
		}
		there, _, err := s.List(ctx, "/registry/core/configmaps/default/", store.ListOptions{Revision: revision})
		require.NoError(t, err)
		require.LessOrEqual(t, int64(len(there)), used.Value(), "revision %d", revision)
		require.LessOrEqual(t, used.Value(), int64(limit), "revision %d", revision)
		checked++
	}
	require.Greater(t, checked, 10, "there is something to look at")
}
