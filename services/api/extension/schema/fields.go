package schema

import (
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
)

// Prune takes out of an object what the schema does not know, and puts embedded metadata into its form. It returns the
// paths of what it took. With lenient set, embedded metadata that cannot be read is dropped; else it is an error.
func (s *Schema) Prune(object map[string]any, lenient bool) (unknown []string, err error) {
	structural, err := s.tree()
	if err != nil {
		return nil, err
	}
	if !s.preserve {
		unknown = pruning.PruneWithOptions(object, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: !lenient})
	}
	bad, paths := objectmeta.CoerceWithOptions(nil, object, structural, false, objectmeta.CoerceOptions{
		DropInvalidFields: lenient, ReturnUnknownFieldPaths: !lenient,
	})
	if bad != nil {
		return nil, bad
	}
	return slices.Concat(unknown, paths), nil
}

// Default sets what is left out. A null where the schema allows none counts as left out.
func (s *Schema) Default(object map[string]any) {
	structural, err := s.tree()
	if err != nil || structural == nil {
		return
	}
	defaulting.Default(object, structural)
	if !s.preserve {
		defaulting.PruneNonNullableNullsWithoutDefaults(object, structural)
	}
}
