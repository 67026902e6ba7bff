// Package schema is what one version of a custom kind says about its objects: which fields there are, their defaults and
// what makes them invalid. It is pure. Nothing is compiled before it is first needed: most kinds of a cluster are
// installed and hardly used.
package schema

import (
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// Schema is safe for concurrent use.
type Schema struct {
	load Loader
	// preserve keeps fields that the schema does not know.
	preserve bool

	structural func() (*schema.Structural, error)
	validators func() (*validators, error)
}

// validators are the two halves of validation, and that of the status alone.
type validators struct {
	whole, status validation.SchemaValidator
	rules         *cel.Validator
}

// Loader returns what a version declares, nil for nothing: then all fields are unknown and nothing is invalid. It may be
// called several times, and each caller may change what it gets: a schema takes far more memory than its encoding.
type Loader func() (*apiextensionsv1.JSONSchemaProps, error)

// New returns the schema that load returns. Preserve is the definition's spec.preserveUnknownFields.
func New(load Loader, preserve bool) *Schema {
	s := &Schema{load: load, preserve: preserve}
	s.structural = sync.OnceValues(s.buildStructural)
	s.validators = sync.OnceValues(s.buildValidators)
	return s
}

// Declared returns the schema as it was declared; nil for none.
func (s *Schema) Declared() (*apiextensionsv1.JSONSchemaProps, error) { return s.load() }

func (s *Schema) internal() (*apiextensions.JSONSchemaProps, error) {
	props, err := s.load()
	if props == nil || err != nil {
		return nil, err
	}
	out := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(props, out, nil); err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	return out, nil
}

// buildStructural returns nil for a version without a schema.
func (s *Schema) buildStructural() (*schema.Structural, error) {
	props, err := s.internal()
	if props == nil || err != nil {
		return nil, err
	}
	out, err := schema.NewStructural(props)
	if err != nil {
		return nil, fmt.Errorf("the schema is not structural: %w", err)
	}
	return out, nil
}

func (s *Schema) buildValidators() (*validators, error) {
	props, err := s.internal()
	if err != nil {
		return nil, err
	}
	out := &validators{}
	if out.whole, _, err = validation.NewSchemaValidator(props); err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	if props != nil {
		if status, ok := props.Properties["status"]; ok {
			if out.status, _, err = validation.NewSchemaValidator(&status); err != nil {
				return nil, fmt.Errorf("compile the schema of the status: %w", err)
			}
		}
	}
	structural, err := s.structural()
	if err != nil {
		return nil, err
	}
	if structural != nil {
		out.rules = cel.NewValidator(structural, true, celconfig.PerCallLimit)
	}
	return out, nil
}
