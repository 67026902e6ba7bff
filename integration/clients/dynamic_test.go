package clients

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
)

// TestDiscoveryAndDynamicClient finds kinds by discovery and handles their objects without Go types.
func TestDiscoveryAndDynamicClient(t *testing.T) {
	cfg := config(t)
	typed, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	ns := namespace(t, typed)
	found, err := discovery.NewDiscoveryClientForConfig(cfg)
	require.NoError(t, err)
	preferred, err := found.ServerPreferredResources()
	require.NoError(t, err)
	require.Greater(t, len(preferred), 15)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	require.NoError(t, err)
	require.Equal(t, "deployments", mapping.Resource.Resource)
	gvr, err := restmapper.NewShortcutExpander(mapper, found, nil).ResourceFor(schema.GroupVersionResource{Resource: "hpa"})
	require.NoError(t, err)
	require.Equal(t, schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}, gvr)

	objects := dynamic.NewForConfigOrDie(cfg).Resource(mapping.Resource).Namespace(ns)
	web := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web"},
		"spec": map[string]any{
			"replicas": int64(0), "selector": map[string]any{"matchLabels": map[string]any{"app": "web"}},
			"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "web"}},
				"spec": map[string]any{"containers": []any{map[string]any{"name": "web", "image": "my-app"}}}},
		},
	}}
	applied, err := objects.Apply(t.Context(), "web", web, metav1.ApplyOptions{FieldManager: "test"})
	require.NoError(t, err)
	policy, _, err := unstructured.NestedString(applied.Object, "spec", "template", "spec", "restartPolicy")
	require.NoError(t, err)
	require.Equal(t, "Always", policy)

	scales, err := scale.NewForConfig(cfg, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(found))
	require.NoError(t, err)
	s, err := scales.Scales(ns).Get(t.Context(), mapping.Resource.GroupResource(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "app=web", s.Status.Selector)

	only, err := metadata.NewForConfigOrDie(cfg).Resource(mapping.Resource).Namespace(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, only.Items, 1)
	require.Equal(t, "web", only.Items[0].Name)
}
