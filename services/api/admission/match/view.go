package match

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsjson "sigs.k8s.io/json"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
)

// Views show the objects of one write in the versions that are asked for, each made once. They are for one goroutine.
type Views struct {
	write *admission.Attributes
	known map[*registry.Kind]*View
}

// View is a write as one version of its kind shows it.
type View struct {
	Write *admission.Attributes
	// Kind is the version; of the objects it tells the kind only when the write is of no part with a form of its own.
	Kind        *registry.Kind
	Object, Old registry.Object

	objectJSON, oldJSON []byte
}

// NewViews returns the views of a write.
func NewViews(a *admission.Attributes) *Views {
	return &Views{write: a, known: map[*registry.Kind]*View{}}
}

// Of returns the view in a version, which is equivalent to that of the write.
func (v *Views) Of(k *registry.Kind) (*View, error) {
	if known := v.known[k]; known != nil {
		return known, nil
	}
	view := &View{Write: v.write, Kind: k}
	var err error
	if view.Object, err = v.convert(v.write.Object, v.write.Kind, k); err != nil {
		return nil, err
	}
	if view.Old, err = v.convert(v.write.Old, v.write.Kind, k); err != nil {
		return nil, err
	}
	v.known[k] = view
	return view, nil
}

func (v *Views) convert(obj registry.Object, from, to *registry.Kind) (registry.Object, error) {
	if obj == nil || from == to || !v.write.Part.Empty() {
		return obj, nil
	}
	value, err := codec.Store(from, obj)
	if err != nil {
		return nil, fmt.Errorf("convert to %s: %w", to.GroupVersionKind, err)
	}
	out, err := codec.Load(to, value, 0)
	if err != nil {
		return nil, fmt.Errorf("convert to %s: %w", to.GroupVersionKind, err)
	}
	out.SetResourceVersion(obj.GetResourceVersion())
	return out, nil
}

// GVK is the kind of the objects.
func (v *View) GVK() schema.GroupVersionKind {
	if !v.Write.Part.Empty() {
		return v.Write.Part
	}
	return v.Kind.GroupVersionKind
}

// ObjectJSON is the object with its kind; nil when there is none.
func (v *View) ObjectJSON() ([]byte, error) { return v.encode(&v.objectJSON, v.Object) }

// OldJSON is the same of what is stored.
func (v *View) OldJSON() ([]byte, error) { return v.encode(&v.oldJSON, v.Old) }

func (v *View) encode(known *[]byte, obj registry.Object) ([]byte, error) {
	if *known != nil || obj == nil {
		return *known, nil
	}
	data, err := codec.EncodeJSON(v.GVK(), obj)
	*known = data
	return data, err
}

// Replace makes the object of the write what the JSON says, in the version of the view. Fields that nobody knows are
// dropped, or refused when strict.
func (v *Views) Replace(view *View, data []byte, strict bool) error {
	into := reflect.New(reflect.TypeOf(view.Object).Elem()).Interface().(registry.Object)
	if v.write.Part.Empty() {
		into = view.Kind.New()
	}
	found, err := readInto(into, data)
	if err == nil && strict && len(found) > 0 {
		err = runtime.NewStrictDecodingError(found)
	}
	if err != nil {
		return err
	}
	if said, want := into.GetObjectKind().GroupVersionKind(), view.GVK(); said != want {
		return fmt.Errorf("the object became a %s, it was a %s", said, want)
	}
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if v.write.Part.Empty() {
		view.Kind.Default(into)
	}
	next, err := v.convert(into, view.Kind, v.write.Kind)
	if err != nil {
		return err
	}
	// The caller of admission goes on with the object that it has.
	reflect.ValueOf(v.write.Object).Elem().Set(reflect.ValueOf(next).Elem())
	clear(v.known)
	return nil
}

// strictReader is what an object of a custom kind is.
type strictReader interface {
	UnmarshalStrict(data []byte) (found []error, err error)
}

func readInto(into registry.Object, data []byte) (found []error, err error) {
	if r, ok := into.(strictReader); ok {
		return r.UnmarshalStrict(data)
	}
	return sigsjson.UnmarshalStrict(data, into)
}

// Plain is an object in the form that expressions take: of a custom kind a map, else a shallow copy that knows its kind.
func Plain(obj registry.Object, gvk schema.GroupVersionKind) runtime.Object {
	if obj == nil {
		return nil
	}
	if m, ok := obj.(runtime.Unstructured); ok {
		return &unstructured.Unstructured{Object: m.UnstructuredContent()}
	}
	out := reflect.New(reflect.TypeOf(obj).Elem())
	out.Elem().Set(reflect.ValueOf(obj).Elem())
	named := out.Interface().(runtime.Object)
	named.GetObjectKind().SetGroupVersionKind(gvk)
	return named
}
