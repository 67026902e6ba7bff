package clients

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Both ways of an informer to begin: by streaming what there is, as client-go does by default now, and by listing it.
func TestInformers(t *testing.T) {
	for _, streaming := range []string{"true", "false"} {
		t.Run("streaming="+streaming, func(t *testing.T) {
			t.Setenv("KUBE_FEATURE_WatchListClient", streaming)
			c, err := kubernetes.NewForConfig(config(t))
			require.NoError(t, err)
			ns := namespace(t, c)
			const many = 30
			for i := range many {
				make1(t, c, ns, fmt.Sprintf("c%d", i))
			}
			factory := informers.NewSharedInformerFactoryWithOptions(c, time.Hour, informers.WithNamespace(ns),
				informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "mine=yes" }))
			maps := factory.Core().V1().ConfigMaps()
			var added, changed, gone atomic.Int32
			_, err = maps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
				AddFunc:    func(any) { added.Add(1) },
				UpdateFunc: func(any, any) { changed.Add(1) },
				DeleteFunc: func(any) { gone.Add(1) },
			})
			require.NoError(t, err)
			factory.Start(t.Context().Done())
			for kind, synced := range factory.WaitForCacheSync(t.Context().Done()) {
				require.True(t, synced, kind)
			}
			all, err := maps.Lister().ConfigMaps(ns).List(labels.Everything())
			require.NoError(t, err)
			require.Len(t, all, many)

			make1(t, c, ns, "late")
			one := all[0].DeepCopy()
			one.Data = map[string]string{"a": "b"}
			_, err = c.CoreV1().ConfigMaps(ns).Update(t.Context(), one, metav1.UpdateOptions{})
			require.NoError(t, err)
			require.NoError(t, c.CoreV1().ConfigMaps(ns).Delete(t.Context(), all[1].Name, metav1.DeleteOptions{}))
			require.Eventually(t, func() bool { return added.Load() == many+1 && changed.Load() == 1 && gone.Load() == 1 }, wait, 10*time.Millisecond)
		})
	}
}

func make1(t *testing.T, c kubernetes.Interface, ns, name string) {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"mine": "yes"}}}
	_, err := c.CoreV1().ConfigMaps(ns).Create(t.Context(), cm, metav1.CreateOptions{})
	require.NoError(t, err)
}
