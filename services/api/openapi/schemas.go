package openapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// schemas collects the schemas of Go types and of all that they are made of.
type schemas struct {
	major  int
	prefix string
	defs   object
}

func newSchemas(major int) *schemas {
	s := &schemas{major: major, prefix: "#/components/schemas/", defs: object{}}
	if major == 2 {
		s.prefix = "#/definitions/"
	}
	return s
}

// named is what Kubernetes' types say about themselves.
type named interface{ OpenAPIModelName() string }

// modelName is the name under which clients know a type: io.k8s.api.core.v1.Pod.
func modelName(t reflect.Type) string {
	if n, ok := reflect.Zero(t).Interface().(named); ok {
		return n.OpenAPIModelName()
	}
	domain, rest, _ := strings.Cut(t.PkgPath(), "/")
	parts := strings.Split(domain, ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".") + "." + strings.ReplaceAll(rest, "/", ".") + "." + t.Name()
}

// ref is a reference to a type's schema, which it adds when it is not there yet.
func (s *schemas) ref(t reflect.Type) object {
	name := modelName(t)
	if _, ok := s.defs[name]; !ok {
		s.defs[name] = object{} // stands in while the type is read: types may contain themselves
		s.defs[name] = s.definition(t)
	}
	return object{"$ref": s.prefix + name}
}

// kind adds the schema of a kind, marked as one, and refers to it.
func (s *schemas) kind(obj runtime.Object, gvk schema.GroupVersionKind) object {
	t := reflect.TypeOf(obj).Elem()
	r := s.ref(t)
	def := s.defs[modelName(t)].(object)
	kinds, _ := def["x-kubernetes-group-version-kind"].([]object)
	for _, k := range kinds {
		if k["group"] == gvk.Group && k["version"] == gvk.Version && k["kind"] == gvk.Kind {
			return r
		}
	}
	def["x-kubernetes-group-version-kind"] = append(kinds, kindObject(gvk))
	return r
}

func kindObject(gvk schema.GroupVersionKind) object {
	return object{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
}

// typed is how types that are written as something else than their fields say so.
type typed interface {
	OpenAPISchemaType() []string
	OpenAPISchemaFormat() string
}

type oneOf interface{ OpenAPIV3OneOfTypes() []string }

// definition is the schema of a struct type.
func (s *schemas) definition(t reflect.Type) object {
	zero := reflect.Zero(t).Interface()
	docs := docsOf(t)
	def := object{}
	if d := docs[""]; d != "" {
		def["description"] = d
	}
	switch zero.(type) {
	case runtime.RawExtension, metav1.FieldsV1:
		def["type"] = "object"
		return def
	}
	if w, ok := zero.(typed); ok {
		if f := w.OpenAPISchemaFormat(); f != "" {
			def["format"] = f
		}
		if o, ok := zero.(oneOf); ok && s.major == 3 {
			var alternatives []object
			for _, a := range o.OpenAPIV3OneOfTypes() {
				alternatives = append(alternatives, object{"type": a})
			}
			def["oneOf"] = alternatives
			return def
		}
		// A type that names none may be anything.
		if types := w.OpenAPISchemaType(); len(types) > 0 {
			def["type"] = types[0]
		}
		return def
	}
	def["type"] = "object"
	properties, required := object{}, []string{}
	s.fields(t, docs, properties, &required)
	if len(properties) > 0 {
		def["properties"] = properties
	}
	if len(required) > 0 {
		slices.Sort(required)
		def["required"] = required
	}
	if m := marksOf(t, "-").mapping; m != "" {
		def["x-kubernetes-map-type"] = m
	}
	return def
}

// fields adds the properties of a struct, those of the structs that it embeds included.
func (s *schemas) fields(t reflect.Type, docs map[string]string, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			if f.Anonymous {
				s.fields(f.Type, docsOf(f.Type), properties, required)
			}
			continue
		}
		m := marksOf(t, name)
		properties[name] = s.property(f, m, docs[name])
		omitted := strings.Contains(options, "omit")
		if m.required || !omitted && !m.optional {
			*required = append(*required, name)
		}
	}
}

// property is the schema of one field.
func (s *schemas) property(f reflect.StructField, m marks, doc string) object {
	p := s.value(f.Type)
	if ref, ok := p["$ref"]; ok && s.major == 3 {
		// In version 3 nothing may stand beside a reference.
		p = object{"allOf": []object{{"$ref": ref}}}
	}
	if doc != "" {
		p["description"] = doc
	}
	if m.defaultJSON != "" {
		p["default"] = json.RawMessage(m.defaultJSON)
	}
	if m.list != "" {
		p["x-kubernetes-list-type"] = m.list
	}
	if len(m.keys) > 0 {
		p["x-kubernetes-list-map-keys"] = m.keys
	}
	if m.mapping != "" {
		p["x-kubernetes-map-type"] = m.mapping
	}
	if key := f.Tag.Get("patchMergeKey"); key != "" {
		p["x-kubernetes-patch-merge-key"] = key
	}
	if strategy := f.Tag.Get("patchStrategy"); strategy != "" {
		p["x-kubernetes-patch-strategy"] = strategy
	}
	return p
}

// scalars are the types and formats of Go's kinds.
var scalars = map[reflect.Kind]object{
	reflect.Bool:  {"type": "boolean"},
	reflect.Int:   {"type": "integer", "format": "int32"},
	reflect.Int8:  {"type": "integer", "format": "byte"},
	reflect.Int16: {"type": "integer", "format": "int32"},
	reflect.Int32: {"type": "integer", "format": "int32"},
	reflect.Int64: {"type": "integer", "format": "int64"},
	reflect.Uint8: {"type": "integer", "format": "byte"}, reflect.Uint32: {"type": "integer", "format": "int64"},
	reflect.Uint64:  {"type": "integer", "format": "int64"},
	reflect.Float32: {"type": "number", "format": "float"}, reflect.Float64: {"type": "number", "format": "double"},
	reflect.String: {"type": "string"},
}

// value is the schema of a type as it stands in a field.
func (s *schemas) value(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Pointer:
		return s.value(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "format": "byte"}
		}
		return object{"type": "array", "items": s.value(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.value(t.Elem())}
	case reflect.Struct:
		return s.ref(t)
	case reflect.Interface:
		return object{"type": "object"}
	}
	out := object{}
	for k, v := range scalars[t.Kind()] {
		out[k] = v
	}
	if t.PkgPath() != "" {
		if enum := marksOf(t, "-").enum; len(enum) > 0 {
			out["enum"] = enum
		}
	}
	return out
}

// docsOf are the comments of a type and its fields, as far as the type carries them.
func docsOf(t reflect.Type) map[string]string {
	if d, ok := reflect.Zero(t).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
		return d.SwaggerDoc()
	}
	if name, ok := strings.CutPrefix(modelName(t), definitionModels); ok {
		return definitionDocs[name]
	}
	if name, ok := strings.CutPrefix(modelName(t), registrationModels); ok {
		return registrationDocs[name]
	}
	return ownDocs[modelName(t)]
}

// ownDocs describe the types that do not describe themselves.
var ownDocs = map[string]map[string]string{
	"io.k8s.apimachinery.pkg.api.resource.Quantity": {"": "A number with a unit, in decimal or binary multiples: 500m is half of one, 1k is 1000, 1Ki is 1024. " +
		"It is written as a string, and may be given as a number. At most three digits after the point are kept; what is smaller is rounded up."},
	"io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"": "A whole number or a string: a port or its name, a count or a percentage."},
	"io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics": {
		"":      "NodeMetrics tells what a node uses at present.",
		"usage": "Processor time and memory. Memory is the working set.", "timestamp": "When it was measured.",
		"window": "What the use of processor time was measured over: [timestamp-window, timestamp].",
	},
	"io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics": {
		"":           "PodMetrics tells what a pod's containers use at present.",
		"containers": "What each container uses, measured over the same window.", "timestamp": "When it was measured.",
		"window": "What the use of processor time was measured over: [timestamp-window, timestamp].",
	},
	"io.k8s.metrics.pkg.apis.metrics.v1beta1.ContainerMetrics": {
		"":     "ContainerMetrics tells what a container uses at present.",
		"name": "The container's name in its pod.", "usage": "Processor time and memory. Memory is the working set.",
	},
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":          {"": "A moment, to the second, in the form of RFC 3339."},
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":     {"": "A moment, to the microsecond, in the form of RFC 3339."},
	"io.k8s.apimachinery.pkg.apis.meta.v1.Duration":      {"": "A span of time, such as 1m30s."},
	"io.k8s.apimachinery.pkg.runtime.RawExtension":       {"": "An object of any kind."},
	"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1":      {"": "A set of fields as a trie: a key f:<name> is a field, k:<keys> or v:<value> an item of a list, a dot the thing itself."},
	"io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent":    {"": "What a watch tells: the kind of change and the object after it."},
	"io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions": {"": "What may be said with a delete."},
}
