package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/registry"
)

// Custom is a custom kind with the JSON schema of its objects, which is empty when there is none.
type Custom struct {
	Kind   *registry.Kind
	Schema map[string]any
}

// AddCustom adds custom kinds to a document in the given major version of OpenAPI; nil begins a new one. The schemas
// are changed.
func AddCustom(document []byte, major int, kinds []Custom) ([]byte, error) {
	s, paths := newSchemas(major), object{}
	for _, c := range kinds {
		t := target{kind: c.Kind, gvk: c.Kind.GroupVersionKind, body: s.custom(c), list: s.customList(c.Kind)}
		addTarget(paths, s, t)
	}
	doc := map[string]json.RawMessage{}
	if document != nil {
		if err := json.Unmarshal(document, &doc); err != nil {
			return nil, fmt.Errorf("read the OpenAPI document of the built-in kinds: %w", err)
		}
	} else if err := put(doc, object{"openapi": "3.0.0", "info": info()}); err != nil {
		return nil, err
	}
	components := object{"schemas": s.defs, "securitySchemes": object{"BearerToken": bearer}}
	if major == 2 {
		flatten(paths)
		return join(doc, object{"paths": paths, "definitions": s.defs})
	}
	if old, ok := doc["components"]; ok {
		have := map[string]json.RawMessage{}
		if err := json.Unmarshal(old, &have); err != nil {
			return nil, fmt.Errorf("read the components of the built-in kinds: %w", err)
		}
		joined, err := join(have, components)
		if err != nil {
			return nil, err
		}
		doc["components"] = joined
		return join(doc, object{"paths": paths})
	}
	return join(doc, object{"paths": paths, "components": components})
}

// join adds the entries of each section; what is there already stays.
func join(doc map[string]json.RawMessage, sections object) ([]byte, error) {
	for name, section := range sections {
		all := map[string]json.RawMessage{}
		if err := put(all, section.(object)); err != nil {
			return nil, err
		}
		if old, ok := doc[name]; ok {
			if err := json.Unmarshal(old, &all); err != nil {
				return nil, fmt.Errorf("read %s of the built-in kinds: %w", name, err)
			}
		}
		data, err := json.Marshal(all)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", name, err)
		}
		doc[name] = data
	}
	return json.Marshal(doc)
}

func put(into map[string]json.RawMessage, values object) error {
	for name, value := range values {
		data, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode %s: %w", name, err)
		}
		into[name] = data
	}
	return nil
}

// customName is the name of a custom kind's schema: com.example.v1.Widget.
func customName(gvk schema.GroupVersionKind) string {
	parts := strings.Split(gvk.Group, ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".") + "." + gvk.Version + "." + gvk.Kind
}

// custom adds the schema of a custom kind and refers to it.
func (s *schemas) custom(c Custom) object {
	def := maps.Clone(c.Schema)
	if def == nil {
		def = object{"x-kubernetes-preserve-unknown-fields": true}
	}
	def["type"] = "object"
	properties, _ := def["properties"].(object)
	properties = maps.Clone(properties)
	if properties == nil {
		properties = object{}
	}
	s.embed(def)
	if s.major == 2 {
		loosen(def)
	}
	s.addOwn(properties, reflect.TypeFor[metav1.ObjectMeta]())
	def["properties"] = properties
	def["x-kubernetes-group-version-kind"] = []object{kindObject(c.Kind.GroupVersionKind)}
	name := customName(c.Kind.GroupVersionKind)
	s.defs[name] = def
	return object{"$ref": s.prefix + name}
}

func (s *schemas) customList(k *registry.Kind) object {
	item := s.prefix + customName(k.GroupVersionKind)
	properties := object{"items": object{
		"type": "array", "items": object{"$ref": item},
		"description": "List of " + k.Resource + ". More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
	}}
	s.addOwn(properties, reflect.TypeFor[metav1.ListMeta]())
	gvk := k.GroupVersion().WithKind(k.ListKindName())
	s.defs[customName(gvk)] = object{
		"type": "object", "required": []string{"items"}, "properties": properties,
		"description": k.ListKindName() + " is a list of " + k.Kind, "x-kubernetes-group-version-kind": []object{kindObject(gvk)},
	}
	return object{"$ref": s.prefix + customName(gvk)}
}

// addOwn adds the fields that every object has.
func (s *schemas) addOwn(properties object, metadata reflect.Type) {
	docs := metav1.TypeMeta{}.SwaggerDoc()
	properties["apiVersion"] = object{"type": "string", "description": docs["apiVersion"]}
	properties["kind"] = object{"type": "string", "description": docs["kind"]}
	about := s.value(metadata)
	if s.major == 3 {
		about = object{"allOf": []object{about}}
	}
	about["description"] = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
	properties["metadata"] = about
}

// embed completes the objects of other kinds that a schema holds.
func (s *schemas) embed(def object) {
	each(def, func(inner object) {
		s.embed(inner)
		if inner["x-kubernetes-embedded-resource"] == true {
			properties, _ := inner["properties"].(object)
			if properties == nil {
				properties = object{}
			}
			s.addOwn(properties, reflect.TypeFor[metav1.ObjectMeta]())
			inner["properties"] = properties
		}
	})
}

// each visits the schemas directly below one.
func each(def object, visit func(object)) {
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := def[key].(object); ok {
			visit(inner)
		}
	}
	properties, _ := def["properties"].(object)
	for _, p := range properties {
		if inner, ok := p.(object); ok {
			visit(inner)
		}
	}
}

// loosen drops what version 2 of OpenAPI cannot say.
func loosen(def object) {
	for _, key := range []string{"oneOf", "anyOf", "allOf", "not", "nullable"} {
		delete(def, key)
	}
	each(def, loosen)
}
