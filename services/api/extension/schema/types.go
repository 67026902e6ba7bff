package schema

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// metadataModel is the name of the schema of metadata, as OpenAPI documents have it.
const metadataModel = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

// metadata tells how metadata merges.
const metadata = `{"type": "object", "properties": {
	"annotations": {"type": "object", "additionalProperties": {"type": "string"}},
	"creationTimestamp": {"type": "string"},
	"deletionGracePeriodSeconds": {"type": "integer"},
	"deletionTimestamp": {"type": "string"},
	"finalizers": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
	"generateName": {"type": "string"},
	"generation": {"type": "integer"},
	"labels": {"type": "object", "additionalProperties": {"type": "string"}},
	"managedFields": {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}, "x-kubernetes-list-type": "atomic"},
	"name": {"type": "string"},
	"namespace": {"type": "string"},
	"ownerReferences": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"], "items": {
		"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
			"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "name": {"type": "string"}, "uid": {"type": "string"},
			"controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"}}}},
	"resourceVersion": {"type": "string"},
	"selfLink": {"type": "string"},
	"uid": {"type": "string"}}}`

// Types tells the field manager how objects of a kind merge: which lists are sets, and which are maps by which keys. It
// is nil for a version without a schema.
func (s *Schema) Types(kind schema.GroupVersionKind) (managedfields.TypeConverter, error) {
	return s.types.get(func() (managedfields.TypeConverter, error) { return s.buildTypes(kind) })
}

func (s *Schema) buildTypes(kind schema.GroupVersionKind) (managedfields.TypeConverter, error) {
	structural, err := s.tree()
	if structural == nil || err != nil {
		return nil, err
	}
	object := structural.ToKubeOpenAPI()
	if object.Properties == nil {
		object.Properties = map[string]spec.Schema{}
	}
	object.Properties["apiVersion"], object.Properties["kind"] = *spec.StringProperty(), *spec.StringProperty()
	object.Properties["metadata"] = *spec.RefSchema("#/definitions/" + metadataModel)
	object.AddExtension("x-kubernetes-group-version-kind", []any{map[string]any{"group": kind.Group, "version": kind.Version, "kind": kind.Kind}})
	meta := &spec.Schema{}
	if err := json.Unmarshal([]byte(metadata), meta); err != nil {
		return nil, fmt.Errorf("read the schema of metadata: %w", err)
	}
	types, err := managedfields.NewTypeConverter(map[string]*spec.Schema{metadataModel: meta, "object": object}, s.preserve)
	if err != nil {
		return nil, fmt.Errorf("compile how objects merge: %w", err)
	}
	return types, nil
}
