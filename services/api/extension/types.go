package extension

import (
	"k8s.io/apimachinery/pkg/util/managedfields"

	"karve.dev/karve/services/api/registry"
)

// Types tells the field manager how objects of a custom kind merge; nil where nothing is known.
func Types(k *registry.Kind) managedfields.TypeConverter {
	if k.Custom == nil {
		return nil
	}
	v := k.New().(*Custom).version
	types, err := v.schema.Types(v.kind)
	if err != nil {
		// Validation tells what is wrong with a schema.
		return nil
	}
	return types
}
