package media

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// contentTypes are what a request's body may be written in. An empty header is read as JSON.
var contentTypes = map[string]Type{
	"": JSON, ContentTypeJSON: JSON, ContentTypeYAML: YAML, "application/x-yaml": YAML, ContentTypeProtobuf: Protobuf,
}

// SupportedContentTypes is how error messages name them.
const SupportedContentTypes = "application/json, application/yaml, application/vnd.kubernetes.protobuf"

// BodyType returns the type that a Content-Type header names; ok is false for others (HTTP 415).
func BodyType(header string) (t Type, ok bool) {
	if t, ok = contentTypes[header]; ok {
		return t, ok
	}
	t, ok = contentTypes[strings.ToLower(bare(header))]
	return t, ok
}

func bare(header string) string {
	name, _, _ := strings.Cut(header, ";")
	return strings.TrimSpace(name)
}

// patchTypes are the content types of PATCH bodies.
var patchTypes = map[string]apiv1.PatchType{
	"application/json-patch+json":            apiv1.PatchType_PATCH_TYPE_JSON,
	"application/merge-patch+json":           apiv1.PatchType_PATCH_TYPE_MERGE,
	"application/strategic-merge-patch+json": apiv1.PatchType_PATCH_TYPE_STRATEGIC_MERGE,
	"application/apply-patch+yaml":           apiv1.PatchType_PATCH_TYPE_APPLY,
}

// SupportedPatchTypes is how error messages name them.
const SupportedPatchTypes = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"

// PatchTypeOf returns the kind of patch that a Content-Type header names; ok is false for others (HTTP 415).
func PatchTypeOf(header string) (t apiv1.PatchType, ok bool) {
	t, ok = patchTypes[bare(header)]
	return t, ok
}

// Object wraps a request's body for the API service. ApiVersion and kind are those that the URL stands for: they name a
// JSON body that does not say what it is. Strict refuses YAML with duplicate keys.
func Object(t Type, body []byte, apiVersion, kind string, strict bool) (*apiv1.Object, error) {
	obj := &apiv1.Object{ApiVersion: apiVersion, Kind: kind, Encoding: apiv1.Encoding_ENCODING_JSON, Data: body}
	switch t {
	case YAML:
		convert := yaml.YAMLToJSON
		if strict {
			convert = yaml.YAMLToJSONStrict
		}
		data, err := convert(body)
		if err != nil {
			return nil, fmt.Errorf("yaml: %w", err)
		}
		obj.Data = data
	case Protobuf:
		v, k, data, err := OpenEnvelope(body)
		if err != nil {
			return nil, err
		}
		obj.Encoding, obj.Data = apiv1.Encoding_ENCODING_PROTOBUF, data
		if k != "" {
			obj.ApiVersion, obj.Kind = v, k
		}
	}
	return obj, nil
}
