package extension

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

type definition = apiextensionsv1.CustomResourceDefinition

// known is a definition without its schemas, which are most of it. They are read again from the stored bytes, which the
// cache holds anyway, when somebody uses the kind.
type known struct {
	*definition
	entry *watch.Entry
}

func read(entry *watch.Entry) (*known, error) {
	d, err := whole(entry)
	if err != nil {
		return nil, err
	}
	for i := range d.Spec.Versions {
		d.Spec.Versions[i].Schema = nil
	}
	return &known{definition: d, entry: entry}, nil
}

func whole(entry *watch.Entry) (*definition, error) {
	d := &definition{}
	err := entry.Err
	if err == nil {
		err = codec.Decode(entry.Value, entry.Revision, d)
	}
	if err != nil {
		return nil, fmt.Errorf("read CustomResourceDefinition %s: %w", entry.Name, err)
	}
	return d, nil
}

// schema returns the schema of a version; nil for none.
func (k *known) schema(version string) (*apiextensionsv1.JSONSchemaProps, error) {
	d, err := whole(k.entry)
	if err != nil {
		return nil, err
	}
	for i := range d.Spec.Versions {
		if v := &d.Spec.Versions[i]; v.Name == version && v.Schema != nil {
			return v.Schema.OpenAPIV3Schema, nil
		}
	}
	return nil, nil
}
