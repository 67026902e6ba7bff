package managedfields

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/registry"
)

// converter is what the field manager knows of one kind: how to make it, give it its defaults, and turn the plain maps
// that come out of a merge into it. A kind has a single version here, so entries of other versions are of none.
type converter struct{ kind *registry.Kind }

var (
	_ runtime.ObjectConvertor = (*converter)(nil)
	_ runtime.ObjectDefaulter = (*converter)(nil)
	_ runtime.ObjectCreater   = (*converter)(nil)
)

// New implements runtime.ObjectCreater.
func (c *converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if gvk != c.kind.GroupVersionKind {
		return nil, runtime.NewNotRegisteredErrForKind("the registry", gvk)
	}
	obj := c.kind.New()
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

// Default implements runtime.ObjectDefaulter.
func (c *converter) Default(obj runtime.Object) {
	if o, ok := obj.(registry.Object); ok {
		c.kind.Default(o)
	}
}

// ConvertToVersion implements runtime.ObjectConvertor. Objects come out marked with their kind.
func (c *converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	gvk, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{c.kind.GroupVersionKind})
	if !ok || gvk != c.kind.GroupVersionKind {
		return nil, runtime.NewNotRegisteredGVKErrForTarget("the registry", c.kind.GroupVersionKind, target)
	}
	out := in
	if plain, ok := in.(*unstructured.Unstructured); ok {
		out = c.kind.New()
		if err := fill(out, plain); err != nil {
			return nil, err
		}
	}
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out, nil
}

func fill(out runtime.Object, plain *unstructured.Unstructured) error {
	if o, ok := out.(runtime.Unstructured); ok {
		o.SetUnstructuredContent(plain.UnstructuredContent())
		return nil
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(plain.UnstructuredContent(), out)
}

// Convert implements runtime.ObjectConvertor; nothing needs it.
func (c *converter) Convert(in, out, _ any) error {
	return fmt.Errorf("convert %T to %T: not supported", in, out)
}

// ConvertFieldLabel implements runtime.ObjectConvertor; nothing needs it.
func (c *converter) ConvertFieldLabel(schema.GroupVersionKind, string, string) (label, value string, err error) {
	return "", "", errors.New("field labels are not converted")
}
