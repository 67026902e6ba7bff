package policy

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// schemaOf is what the OpenAPI documents tell of a kind, without references; nil for nothing.
func (p *Plugin) schemaOf(gvk schema.GroupVersionKind) (*spec.Schema, error) {
	document, _, err := p.config.OpenAPI(gvk.GroupVersion().String(), 3)
	if err != nil || len(document) == 0 {
		return nil, err
	}
	var parsed struct {
		Components struct {
			Schemas map[string]*spec.Schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &parsed); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document of %s: %w", gvk.GroupVersion(), err)
	}
	for name, model := range parsed.Components.Schemas {
		if !isKind(model, gvk) {
			continue
		}
		return resolver.PopulateRefs(func(ref string) (*spec.Schema, bool) {
			found, ok := parsed.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
			return found, ok
		}, name)
	}
	return nil, nil
}

// isKind reports whether a model says that it is a kind's.
func isKind(model *spec.Schema, gvk schema.GroupVersionKind) bool {
	all, _ := model.Extensions["x-kubernetes-group-version-kind"].([]any)
	for _, one := range all {
		if said, ok := one.(map[string]any); ok && said["group"] == gvk.Group && said["version"] == gvk.Version && said["kind"] == gvk.Kind {
			return true
		}
	}
	return false
}
