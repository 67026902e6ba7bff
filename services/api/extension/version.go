package extension

import (
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

	"karve.dev/karve/services/api/extension/schema"
	"karve.dev/karve/services/api/registry"
)

// version is one served version of a definition.
type version struct {
	kind    schemas.GroupVersionKind
	schema  *schema.Schema
	storage string
	webhook bool
	// hasStatus: the status is written through its subresource only.
	hasStatus bool
	scale     *scale
}

// verbsOfDying are those of kinds whose definition is being deleted.
var verbsOfDying = []string{"delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// kinds returns the kinds that a definition declares, one a served version, under the names that it was granted.
func kinds(d *known, names apiextensionsv1.CustomResourceDefinitionNames) []*registry.Kind {
	var out []*registry.Kind
	fieldsOf := selectables(d.definition)
	for i := range d.Spec.Versions {
		if declared := &d.Spec.Versions[i]; declared.Served {
			k := kindOf(d, declared, names)
			if fieldsOf != nil {
				k.Fields = func(obj registry.Object) fields.Set { return fieldsOf.of(obj.(*Custom)) }
			}
			out = append(out, k)
		}
	}
	return out
}

func kindOf(d *known, declared *apiextensionsv1.CustomResourceDefinitionVersion, names apiextensionsv1.CustomResourceDefinitionNames) *registry.Kind {
	v := newVersion(d, declared)
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
		webhook: d.Spec.Conversion != nil && d.Spec.Conversion.Strategy == apiextensionsv1.WebhookConverter,
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

// convertible tells whether stored content can be read as this version: with the strategy None only the name of the
// version is another.
func (v *version) convertible(content map[string]any) error {
	stored, _ := content["apiVersion"].(string)
	if wanted := v.kind.GroupVersion().String(); v.webhook && stored != "" && stored != wanted {
		return v.noWebhook(stored, wanted)
	}
	return nil
}

// storable tells whether objects of this version can be stored.
func (v *version) storable() error {
	if v.webhook && v.kind.Version != v.storage {
		return v.noWebhook(v.kind.GroupVersion().String(), v.kind.Group+"/"+v.storage)
	}
	return nil
}

func (v *version) noWebhook(from, to string) error {
	return fmt.Errorf("conversion webhook for %s, Kind=%s failed: converting to %s by a webhook is not supported yet", from, v.kind.Kind, to)
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
