package gateway_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// TestClientGoInformersFollow runs the three kinds of informers, each with its own encoding and form, over the real API.
func TestClientGoInformersFollow(t *testing.T) {
	w := cluster(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	typed := w.clientset(t)
	for i := range 50 {
		_, err := typed.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("early-%d", i)}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	configMaps := corev1.SchemeGroupVersion.WithResource("configmaps")
	dyn, err := dynamic.NewForConfig(w.restConfig())
	require.NoError(t, err)
	meta, err := metadata.NewForConfig(w.restConfig())
	require.NoError(t, err)
	factory := informers.NewSharedInformerFactoryWithOptions(typed, 0, informers.WithNamespace("default"))
	listers := map[string]cache.SharedIndexInformer{
		"typed":    factory.Core().V1().ConfigMaps().Informer(),
		"dynamic":  dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, "default", nil).ForResource(configMaps).Informer(),
		"metadata": metadatainformer.NewFilteredSharedInformerFactory(meta, 0, "default", nil).ForResource(configMaps).Informer(),
	}
	for name, informer := range listers {
		go informer.Run(ctx.Done())
		require.True(t, cache.WaitForCacheSync(ctx.Done(), informer.HasSynced), name)
		require.Len(t, informer.GetStore().ListKeys(), 50, name)
	}
	_, err = typed.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, typed.CoreV1().ConfigMaps("default").Delete(ctx, "early-0", metav1.DeleteOptions{}))
	for name, informer := range listers {
		require.Eventually(t, func() bool {
			_, late, _ := informer.GetStore().GetByKey("default/late")
			_, gone, _ := informer.GetStore().GetByKey("default/early-0")
			return late && !gone
		}, 10*time.Second, 5*time.Millisecond, name)
	}
	list, err := factory.Core().V1().ConfigMaps().Lister().List(labels.Everything())
	require.NoError(t, err)
	require.Len(t, list, 50)
}

func TestClientGoElectsALeader(t *testing.T) {
	w := cluster(t)
	client := kubernetes.NewForConfigOrDie(w.restConfig())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	leading := make(chan string, 2)
	for _, id := range []string{"a", "b"} {
		run, stop := context.WithCancel(ctx)
		defer stop()
		lock := &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: "default", Name: "leader"}, Client: client.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: id}}
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { leading <- id; stop() }, OnStoppedLeading: func() {}},
		})
		require.NoError(t, err)
		go elector.Run(run)
	}
	first, second := <-leading, <-leading
	require.NotEqual(t, first, second, "the second leads when the first has let go")
}
