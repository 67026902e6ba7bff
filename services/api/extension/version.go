package extension

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	schemas "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiversion "k8s.io/apimachinery/pkg/version"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/extension/schema"
	"karve.dev/karve/services/api/registry"
)

// version is one served version of a definition.
type version struct {
	kind    schemas.GroupVersionKind
	schema  *schema.Schema
	storage string
	// stored reads and writes what is stored: the version in which objects are, or that they are converted to.
	stored *version
	// converter converts to and from other versions; nil where only the name of the version is another.
	converter *converter
	// verbatim takes what is stored as it is, in whatever version.
	verbatim bool
	// hasStatus: the status is written through its subresource only.
	hasStatus bool
	scale     *scale
}

// verbsOfDying are those of kinds whose definition is being deleted.
var verbsOfDying = []string{"delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// kinds returns the kinds that a definition declares, one a served version, under the names that it was granted.
func (x *Extensions) kinds(d *known, names apiextensionsv1.CustomResourceDefinitionNames) []*registry.Kind {
	var out []*registry.Kind
	fieldsOf := selectables(d.definition)
	convert := x.newConverter(d.definition)
	stored := storedVersion(d, convert)
	for i := range d.Spec.Versions {
		if declared := &d.Spec.Versions[i]; declared.Served {
			v := stored
			if declared.Name != stored.kind.Version {
				v = newVersion(d, declared)
				v.converter, v.stored = convert, stored
			}
			k := kindOf(d, declared, v, names)
			if fieldsOf != nil {
				k.Fields = func(obj registry.Object) fields.Set { return fieldsOf.of(obj.(*Custom)) }
			}
			out = append(out, k)
		}
	}
	return out
}

func kindOf(d *known, declared *apiextensionsv1.CustomResourceDefinitionVersion, v *version, names apiextensionsv1.CustomResourceDefinitionNames) *registry.Kind {
	table := newTable(declared.AdditionalPrinterColumns)
	k := &registry.Kind{
		GroupVersionKind: v.kind, ListKind: names.ListKind, Resource: names.Plural, Singular: names.Singular,
		ShortNames: names.ShortNames, Categories: names.Categories, Namespaced: d.Spec.Scope == apiextensionsv1.NamespaceScoped,
		Custom:        &registry.Custom{Storage: v.storage, Variant: fmt.Sprintf("%s@%s/%d", declared.Name, d.UID, d.Generation)},
		New:           func() registry.Object { return &Custom{version: v} },
		NewList:       func() runtime.Object { return nil },
		Default:       func(obj registry.Object) { obj.(*Custom).setDefaults() },
		PrepareCreate: v.prepareCreate, PrepareUpdate: v.prepareUpdate,
		Validate:       func(registry.Object) field.ErrorList { return nil }, // depends on whether there is an old one
		ValidateCreate: v.validateCreate, ValidateUpdate: v.validateUpdate, ValidateName: validation.NameIsDNSSubdomain,
		Warnings: finalizerWarnings,
		Columns:  table.columns, Cells: func(obj registry.Object, now time.Time) []any { return table.cells(obj.(*Custom), now) },
	}
	if d.DeletionTimestamp != nil {
		k.Verbs = verbsOfDying
	}
	v.join(k.Custom)
	if declared.Deprecated {
		k.Deprecated = deprecation(d.definition, declared)
	}
	if v.hasStatus {
		k.PrepareStatus, k.ValidateStatus = v.prepareStatus, v.validateStatus
	}
	if v.scale != nil {
		k.Scale = v.scale.access()
	}
	return k
}

func newVersion(d *known, declared *apiextensionsv1.CustomResourceDefinitionVersion) *version {
	v := &version{
		kind:    schemas.GroupVersionKind{Group: d.Spec.Group, Version: declared.Name, Kind: d.Spec.Names.Kind},
		storage: storageVersion(d.definition),
	}
	v.schema = schema.New(func() (*apiextensionsv1.JSONSchemaProps, error) { return d.schema(declared.Name) }, d.Spec.PreserveUnknownFields)
	if sub := declared.Subresources; sub != nil {
		v.hasStatus = sub.Status != nil
		if sub.Scale != nil {
			v.scale = newScale(sub.Scale)
		}
	}
	return v
}

func storageVersion(d *definition) string {
	for i := range d.Spec.Versions {
		if d.Spec.Versions[i].Storage {
			return d.Spec.Versions[i].Name
		}
	}
	return ""
}

// storedVersion is the version in which objects are stored, whether it is served or not.
func storedVersion(d *known, convert *converter) *version {
	for i := range d.Spec.Versions {
		if declared := &d.Spec.Versions[i]; declared.Storage {
			v := newVersion(d, declared)
			v.converter, v.stored = convert, v
			return v
		}
	}
	// Validation wants one; without, nothing is stored.
	return &version{}
}

// join tells the server how a kind's objects are converted, where a webhook does it.
func (v *version) join(k *registry.Custom) {
	if v.converter == nil {
		return
	}
	raw := *v.stored
	raw.verbatim = true
	k.NewStored = func() registry.Object { return &Custom{version: &raw} }
	k.Prepare = v.prepare
	if v != v.stored {
		k.ToStorage = v.toStorage
	}
}

// here is the content of stored JSON as this version has it.
func (v *version) here(content map[string]any, data []byte) (map[string]any, error) {
	said, _ := content["apiVersion"].(string)
	if v.converter == nil || v.verbatim || said == "" || said == v.kind.GroupVersion().String() {
		return content, nil
	}
	return v.converter.one(data, said, v.kind.GroupVersion().String())
}

// toStorage converts an object of this version to that in which it is stored.
func (v *version) toStorage(obj registry.Object) (registry.Object, error) {
	data, err := codec.EncodeJSON(v.kind, obj)
	if err != nil {
		return nil, err
	}
	out := &Custom{version: v.stored}
	return out, out.UnmarshalJSON(data)
}

// prepare converts many stored values to this version at once, so that reading them then is quick.
func (v *version) prepare(ctx context.Context, values [][]byte) error {
	to := v.kind.GroupVersion().String()
	var foreign [][]byte
	for _, value := range values {
		var said struct {
			APIVersion string `json:"apiVersion"`
		}
		if json.Unmarshal(value, &said) == nil && said.APIVersion != "" && said.APIVersion != to && v.converter.kept.find(to, value) == nil {
			foreign = append(foreign, value)
		}
	}
	if len(foreign) < 2 {
		return nil
	}
	return v.converter.several(ctx, foreign, to)
}

// deprecation is the warning about a version that should no longer be used.
func deprecation(d *definition, declared *apiextensionsv1.CustomResourceDefinitionVersion) string {
	if declared.DeprecationWarning != nil {
		return *declared.DeprecationWarning
	}
	text := fmt.Sprintf("%s/%s %s is deprecated", d.Spec.Group, declared.Name, d.Spec.Names.Kind)
	best := ""
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		newer := apiversion.CompareKubeAwareVersionStrings(v.Name, declared.Name) > 0
		if v.Served && !v.Deprecated && newer && (best == "" || apiversion.CompareKubeAwareVersionStrings(v.Name, best) > 0) {
			best = v.Name
		}
	}
	if best != "" {
		text += fmt.Sprintf("; use %s/%s %s", d.Spec.Group, best, d.Spec.Names.Kind)
	}
	return text
}

// order sorts kinds as discovery lists them: by group, the best version of a group first.
func order(all []*registry.Kind) {
	slices.SortFunc(all, func(a, b *registry.Kind) int {
		if c := strings.Compare(a.Group, b.Group); c != 0 {
			return c
		}
		if c := apiversion.CompareKubeAwareVersionStrings(b.Version, a.Version); c != 0 {
			return c
		}
		return strings.Compare(a.Resource, b.Resource)
	})
}
