package managedfields_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"karve.dev/karve/services/api/managedfields"
	"karve.dev/karve/services/api/registry"
)

func TestEveryKindHasASchema(t *testing.T) {
	tracker := &managedfields.Tracker{}
	for _, k := range registry.All() {
		if len(k.Verbs) > 0 && !slices.Contains(k.Verbs, "patch") || !scheme.Scheme.Recognizes(k.GroupVersionKind) {
			continue
		}
		patch, _, err := managedfields.ParsePatch(fmt.Appendf(nil, `{"apiVersion": %q, "kind": %q, "metadata": {"name": "x", "labels": {"a": "b"}}}`, k.GroupVersion(), k.Kind))
		require.NoError(t, err)
		obj, err := tracker.Apply(managedfields.Write{Kind: k, Manager: "one"}, k.New(), patch, false)
		require.NoError(t, err, k.Kind)
		require.Equal(t, "x", obj.GetName(), k.Kind)
		require.Len(t, obj.GetManagedFields(), 1, k.Kind)
		assert.Equal(t, `{"f:metadata":{"f:labels":{"f:a":{}}}}`, string(obj.GetManagedFields()[0].FieldsV1.GetRawBytes()), k.Kind)
	}
}

// custom stands for the objects of custom kinds.
type custom struct{ unstructured.Unstructured }

func (c *custom) DeepCopyObject() runtime.Object { return &custom{*c.DeepCopy()} }

func TestCustomKindsMergeWithoutASchema(t *testing.T) {
	gvk := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
	k := &registry.Kind{
		GroupVersionKind: gvk, Default: func(registry.Object) {},
		New: func() registry.Object { return &custom{unstructured.Unstructured{Object: map[string]any{}}} },
	}
	w := &world{t: t, tracker: &managedfields.Tracker{}, kind: k, live: k.New()}
	w.apply("one", `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"size":1,"parts":["a","b"]}}`)
	w.apply("two", `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"color":"red"}}`)
	require.Equal(t, map[string]string{"one Apply": `{"f:spec":{".":{},"f:parts":{},"f:size":{}}}`, "two Apply": `{"f:spec":{".":{},"f:color":{}}}`}, w.owners())
	w.update("editor", "", func(o registry.Object) {
		require.NoError(t, unstructured.SetNestedField(o.(*custom).Object, int64(2), "spec", "size"))
	})
	_, err := w.tryApply("one", "", `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"size":1}}`, false)
	require.ErrorContains(t, err, `conflict with "editor" using example.com/v1: .spec.size`)
}

func BenchmarkPod(b *testing.B) {
	w := newWorld(b, "Pod")
	body := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"default","labels":{"app":"bench","tier":"backend"}},` +
		`"spec":{"containers":[{"name":"app","image":"registry.example.com/team/app:v1.2.3","command":["/bin/app"],"args":["--port=8080","--verbose"],` +
		`"env":[{"name":"A","value":"one"},{"name":"B","value":"two"}],"ports":[{"containerPort":8080,"protocol":"TCP"}],` +
		`"resources":{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"cpu":"200m","memory":"128Mi"}},` +
		`"readinessProbe":{"httpGet":{"path":"/healthz","port":8080},"periodSeconds":5}}],"nodeSelector":{"disk":"ssd"}}}`
	w.create("kubectl", body)
	blank := w.live.DeepCopyObject().(registry.Object)
	blank.SetManagedFields(nil)
	bytes, _ := w.live.(*corev1.Pod).Marshal()
	plain, _ := blank.(*corev1.Pod).Marshal()
	patch, _, _ := managedfields.ParsePatch([]byte(body))
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"create", func() { w.tracker.Created(w.write("kubectl", ""), blank.DeepCopyObject().(registry.Object)) }},
		{"create-without", func() { w.tracker.Created(managedfields.Write{Kind: w.kind}, blank) }},
		{"status", func() {
			obj := w.live.DeepCopyObject().(*corev1.Pod)
			obj.Status.Phase = corev1.PodRunning
			w.tracker.Updated(w.write("node", "status"), obj, w.live)
		}},
		{"apply", func() {
			_, err := w.tracker.Apply(w.write("one", ""), w.live.DeepCopyObject().(registry.Object), patch, false)
			require.NoError(b, err)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.do()
			}
			b.ReportMetric(float64(len(bytes)-len(plain)), "record-B")
			b.ReportMetric(float64(len(plain)), "object-B")
		})
	}
}
