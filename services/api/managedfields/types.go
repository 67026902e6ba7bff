package managedfields

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	upstream "k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"karve.dev/karve/services/api/registry"
)

// Types returns what knows how the fields of a kind are merged.
func (t *Tracker) Types(k *registry.Kind) upstream.TypeConverter { return t.typesOf(k) }

// typesOf returns what knows how the fields of a kind are merged.
func (t *Tracker) typesOf(k *registry.Kind) upstream.TypeConverter {
	if known, ok := t.known.Load(k.GroupVersionKind); ok {
		return known.(upstream.TypeConverter)
	}
	sample := k.New()
	if _, ok := sample.(runtime.Unstructured); ok {
		return t.ofMaps(k)
	}
	t.once.Do(func() { t.builtin = applyconfigurations.NewTypeConverter(scheme.Scheme) })
	types := t.builtin
	sample.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	if _, err := types.ObjectToTyped(sample); err != nil {
		// client-go does not know the type.
		types = upstream.NewDeducedTypeConverter()
	}
	t.known.Store(k.GroupVersionKind, types)
	return types
}

func (t *Tracker) ofMaps(k *registry.Kind) upstream.TypeConverter {
	var types upstream.TypeConverter
	if t.Schema != nil {
		types = t.Schema(k)
	}
	if types == nil {
		types = upstream.NewDeducedTypeConverter()
	}
	return maps{types}
}

// maps shows objects that are maps in the one form that upstream takes for maps.
type maps struct{ upstream.TypeConverter }

// ObjectToTyped implements upstream.TypeConverter.
func (m maps) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	if o, ok := obj.(runtime.Unstructured); ok {
		obj = &unstructured.Unstructured{Object: o.UnstructuredContent()}
	}
	return m.TypeConverter.ObjectToTyped(obj, options...)
}
