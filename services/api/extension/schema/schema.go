// Package schema is what one version of a custom kind says about its objects: which fields there are, their defaults and
// what makes them invalid. Nothing is compiled before it is first needed, and what nobody uses for a while is forgotten:
// most kinds of a cluster are installed and hardly used, and a compiled schema takes megabytes.
package schema

import (
	"fmt"
	"sync/atomic"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/managedfields"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// Loader returns what a version declares, nil for nothing: then all fields are unknown and nothing is invalid. It may be
// called several times, and each caller may change what it gets: a schema takes far more memory than its encoding.
type Loader func() (*apiextensionsv1.JSONSchemaProps, error)

// Schema is safe for concurrent use.
type Schema struct {
	load Loader
	// preserve keeps fields that the schema does not know.
	preserve bool
	used     atomic.Bool

	structural lazy[*schema.Structural]
	validators lazy[*validators]
	types      lazy[managedfields.TypeConverter]
}

// validators are the two halves of validation, and that of the status alone.
type validators struct {
	whole, status validation.SchemaValidator
	rules         *cel.Validator
}

// New returns the schema that load returns. Preserve is the definition's spec.preserveUnknownFields.
func New(load Loader, preserve bool) *Schema { return &Schema{load: load, preserve: preserve} }

// Declared returns the schema as it was declared; nil for none.
func (s *Schema) Declared() (*apiextensionsv1.JSONSchemaProps, error) { return s.load() }

// Sweep forgets what was compiled when nobody has used it since the Sweep before.
func (s *Schema) Sweep() {
	if !s.used.Swap(false) {
		s.structural.forget()
		s.validators.forget()
		s.types.forget()
	}
}

func (s *Schema) touch() {
	if !s.used.Load() {
		s.used.Store(true)
	}
}

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

// tree returns the structural schema; nil for a version without a schema.
func (s *Schema) tree() (*schema.Structural, error) {
	s.touch()
	return s.structural.get(func() (*schema.Structural, error) {
		props, err := s.internal()
		if props == nil || err != nil {
			return nil, err
		}
		out, err := schema.NewStructural(props)
		if err != nil {
			return nil, fmt.Errorf("the schema is not structural: %w", err)
		}
		return out, nil
	})
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
	structural, err := s.tree()
	if err != nil {
		return nil, err
	}
	if structural != nil {
		out.rules = cel.NewValidator(structural, true, celconfig.PerCallLimit)
	}
	return out, nil
}
