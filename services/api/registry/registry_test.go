package registry_test

import (
	"encoding/json"
	"math/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"sigs.k8s.io/randfill"

	"karve.dev/karve/services/api/registry"
)

func TestEveryKindIsFoundByBothNames(t *testing.T) {
	for _, k := range registry.All() {
		byKind, ok := registry.Lookup(k.GroupVersionKind)
		require.True(t, ok)
		byResource, ok := registry.LookupResource(k.Group, k.Version, k.Resource)
		require.True(t, ok)
		require.Same(t, k, byKind, "two kinds of one name: %v", k.GroupVersionKind)
		require.Same(t, k, byResource, "two kinds of one plural: %v", k.Resource)
	}
	_, ok := registry.LookupResource("apps", "v1", "pods")
	require.False(t, ok)
}

func TestKindsAreThoseOfTheScheme(t *testing.T) {
	known := runtime.NewScheme()
	require.NoError(t, scheme.AddToScheme(known))
	require.NoError(t, apiextensionsv1.AddToScheme(known))
	require.NoError(t, metricsv1beta1.AddToScheme(known))
	require.NoError(t, apiregistrationv1.AddToScheme(known))
	for _, k := range registry.All() {
		kinds, _, err := known.ObjectKinds(k.New())
		require.NoError(t, err)
		require.Equal(t, k.GroupVersionKind, kinds[0])
		if list := k.NewList(); list != nil {
			kinds, _, err := known.ObjectKinds(list)
			require.NoError(t, err)
			require.Equal(t, k.Kind+"List", kinds[0].Kind)
			require.True(t, meta.IsListType(list))
		}
	}
}

func TestEmptyObjectsAreRefusedNotFatal(t *testing.T) {
	for _, k := range registry.All() {
		t.Run(k.Kind, func(t *testing.T) { exercise(t, k, k.New(), k.New()) })
	}
}

// exercise runs all that the server runs on an object, in its order.
func exercise(t *testing.T, k *registry.Kind, obj, old registry.Object) {
	k.Default(old)
	k.PrepareCreate(old)
	k.Validate(old)
	k.ValidateCreate(old)
	k.Default(obj)
	updated := obj.DeepCopyObject().(registry.Object)
	k.PrepareUpdate(updated, old)
	k.Validate(updated)
	k.ValidateUpdate(updated, old)
	if k.Warnings != nil {
		k.Warnings(updated, old)
		k.Warnings(updated, nil)
	}
	if k.PrepareStatus != nil {
		status := obj.DeepCopyObject().(registry.Object)
		k.PrepareStatus(status, old)
		k.ValidateStatus(status, old)
	}
	for _, sub := range k.Subresources {
		if sub.Prepare != nil {
			part := obj.DeepCopyObject().(registry.Object)
			sub.Prepare(part, old)
			sub.Validate(part, old)
		}
	}
	require.Len(t, k.Cells(obj, time.Now()), len(k.Columns))
	if k.Fields != nil {
		require.Equal(t, len(k.Fields(obj)), len(k.Fields(k.New())), "the set of selectable fields must not depend on the object")
	}
	if k.GracePeriod != nil {
		require.GreaterOrEqual(t, k.GracePeriod(obj, nil), int64(0))
	}
	if k.Scale != nil {
		k.Scale.Set(obj, 7)
		spec, _, _ := k.Scale.Get(obj)
		require.Equal(t, int32(7), spec)
	}
}

// filler makes random objects that decode from their own JSON, as every object of a request has.
func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.3).NumElements(0, 3).MaxDepth(14).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(1<<40)-1<<38, resource.DecimalSI)
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = []intstr.IntOrString{intstr.FromInt32(int32(c.Intn(70000)) - 100), intstr.FromString("25%"), intstr.FromString("http"), intstr.FromString("")}[c.Intn(4)]
		},
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Unix(c.Int63n(1<<31), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.MicroTime{Time: time.Unix(c.Int63n(1<<31), 0)}
		},
		func(r *runtime.RawExtension, _ randfill.Continue) { *r = runtime.RawExtension{Raw: []byte(`{"a":1}`)} },
		func(o *runtime.Object, _ randfill.Continue) { *o = nil },
		func(j *apiextensionsv1.JSON, _ randfill.Continue) { *j = apiextensionsv1.JSON{Raw: []byte(`{"a":1}`)} },
		func(m *[]metav1.ManagedFieldsEntry, _ randfill.Continue) { *m = nil },
	)
}

func FuzzNoObjectPanics(f *testing.F) {
	for seed := range int64(12) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed int64) {
		fill := filler(seed)
		for _, k := range registry.All() {
			obj, old := k.New(), k.New()
			fill.Fill(obj)
			fill.Fill(old)
			if rand.New(rand.NewSource(seed)).Intn(2) == 0 {
				old = obj.DeepCopyObject().(registry.Object)
			}
			exercise(t, k, obj, old)
		}
	})
}

func TestDefaultsAreSettledOnce(t *testing.T) {
	fill := filler(11)
	for range 20 {
		for _, k := range registry.All() {
			obj := k.New()
			fill.Fill(obj)
			k.Default(obj)
			again := obj.DeepCopyObject().(registry.Object)
			k.Default(again)
			require.Equal(t, asJSONString(t, obj), asJSONString(t, again), "%s: defaulting a defaulted object changes it", k.Kind)
		}
	}
}

func asJSONString(t *testing.T, v any) string {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}
