package extension

import (
	"encoding/json"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsjson "sigs.k8s.io/json"

	"karve.dev/karve/services/api/registry"
)

// Custom is an object of a custom kind. Its metadata is typed, like everybody's; the rest is JSON as it was parsed.
type Custom struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	// Fields are all fields but apiVersion, kind and metadata.
	Fields map[string]any

	// version knows what the fields may be. It survives copies.
	version *version
}

var (
	_ registry.Object      = (*Custom)(nil)
	_ runtime.Unstructured = (*Custom)(nil)
)

// DeepCopyObject implements runtime.Object.
func (c *Custom) DeepCopyObject() runtime.Object {
	out := &Custom{TypeMeta: c.TypeMeta, Fields: runtime.DeepCopyJSON(c.Fields), version: c.version}
	c.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return out
}

// GetObjectKind implements runtime.Object.
func (c *Custom) GetObjectKind() schema.ObjectKind { return &c.TypeMeta }

// MarshalJSON implements json.Marshaler. Keys are in order.
func (c *Custom) MarshalJSON() ([]byte, error) {
	out := make(map[string]any, len(c.Fields)+3)
	maps.Copy(out, c.Fields)
	out["metadata"] = &c.ObjectMeta
	if c.Kind != "" {
		out["kind"] = c.Kind
	}
	if c.APIVersion != "" {
		out["apiVersion"] = c.APIVersion
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler for what is stored: unknown fields are dropped and defaults set, since the
// schema may have changed after the object was written.
func (c *Custom) UnmarshalJSON(data []byte) error {
	var content map[string]any
	if err := sigsjson.UnmarshalCaseSensitivePreserveInts(data, &content); err != nil {
		return err
	}
	content, err := c.version.here(content, data)
	if err != nil {
		return err
	}
	if said, _ := content["apiVersion"].(string); c.version.verbatim && said != c.version.kind.GroupVersion().String() {
		return c.takeVerbatim(content)
	}
	if _, err := c.take(content, true); err != nil {
		return err
	}
	c.TypeMeta = metav1.TypeMeta{}
	c.setDefaults()
	return nil
}

// UnmarshalStrict reads what a client sent. It returns what is unknown or doubled apart from what is an error.
func (c *Custom) UnmarshalStrict(data []byte) (found []error, err error) {
	var content map[string]any
	if found, err = sigsjson.UnmarshalStrict(data, &content); err != nil {
		return nil, err
	}
	unknown, err := c.take(content, false)
	if err != nil {
		return nil, err
	}
	for _, path := range unknown {
		found = append(found, fmt.Errorf("unknown field %q", path))
	}
	return found, nil
}

// take makes content the object's own.
func (c *Custom) take(content map[string]any, lenient bool) (unknown []string, err error) {
	if content == nil {
		return nil, fmt.Errorf("the object is null")
	}
	for _, f := range []struct {
		name string
		into *string
	}{{"apiVersion", &c.APIVersion}, {"kind", &c.Kind}} {
		value, there := content[f.name]
		text, ok := value.(string)
		if there && !ok {
			return nil, fmt.Errorf("%s must be a string", f.name)
		}
		*f.into = text
	}
	if unknown, err = c.takeMetadata(content["metadata"], lenient); err != nil {
		return nil, err
	}
	paths, err := c.version.schema.Prune(content, lenient)
	if err != nil {
		return nil, err
	}
	for _, own := range ownFields {
		delete(content, own)
	}
	c.Fields = content
	return append(unknown, paths...), nil
}

// takeVerbatim makes content of a version that is not this one the object's own, as it is.
func (c *Custom) takeVerbatim(content map[string]any) error {
	if _, err := c.takeMetadata(content["metadata"], true); err != nil {
		return err
	}
	for _, own := range ownFields {
		delete(content, own)
	}
	c.Fields = content
	return nil
}

var ownFields = []string{"apiVersion", "kind", "metadata"}

func (c *Custom) takeMetadata(metadata any, lenient bool) (unknown []string, err error) {
	c.ObjectMeta = metav1.ObjectMeta{}
	if metadata == nil {
		return nil, nil
	}
	data, err := json.Marshal(metadata)
	if err != nil {
		return nil, err
	}
	if lenient {
		return nil, sigsjson.UnmarshalCaseSensitivePreserveInts(data, &c.ObjectMeta)
	}
	found, err := sigsjson.UnmarshalStrict(data, &c.ObjectMeta, sigsjson.DisallowUnknownFields)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	for _, e := range found {
		if f, ok := e.(sigsjson.FieldError); ok {
			unknown = append(unknown, "metadata."+f.FieldPath())
		}
	}
	return unknown, nil
}

// content is the whole object as JSON values, for validation and paths. The fields are shared.
func (c *Custom) content() map[string]any {
	out := make(map[string]any, len(c.Fields)+3)
	maps.Copy(out, c.Fields)
	out["apiVersion"], out["kind"] = c.version.kind.GroupVersion().String(), c.version.kind.Kind
	// The only error is of types that cannot be converted, which metadata is not.
	metadata, _ := runtime.DefaultUnstructuredConverter.ToUnstructured(&c.ObjectMeta)
	if c.CreationTimestamp.IsZero() {
		delete(metadata, "creationTimestamp")
	}
	out["metadata"] = metadata
	return out
}

// setDefaults sets what is left out.
func (c *Custom) setDefaults() {
	if c.Fields == nil {
		c.Fields = map[string]any{}
	}
	// Defaults of metadata are not a thing: the fields are all that may change.
	c.version.schema.Default(c.Fields)
}

// NewEmptyInstance implements runtime.Unstructured.
func (c *Custom) NewEmptyInstance() runtime.Unstructured { return &Custom{version: c.version} }

// UnstructuredContent implements runtime.Unstructured. The fields are shared.
func (c *Custom) UnstructuredContent() map[string]any { return c.content() }

// SetUnstructuredContent implements runtime.Unstructured; it takes what it can read.
func (c *Custom) SetUnstructuredContent(content map[string]any) {
	_, _ = c.take(maps.Clone(content), true)
}

// IsList implements runtime.Unstructured.
func (c *Custom) IsList() bool { return false }

// EachListItem implements runtime.Unstructured.
func (c *Custom) EachListItem(func(runtime.Object) error) error { return nil }

// EachListItemWithAlloc implements runtime.Unstructured.
func (c *Custom) EachListItemWithAlloc(func(runtime.Object) error) error { return nil }
