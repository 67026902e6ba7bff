package registry

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	formats "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// internal is a definition in the form that Kubernetes' validation takes. Of its metadata it has only what that is to
// look at: the server has looked at the rest.
func internal(c *crd) (*apiextensions.CustomResourceDefinition, field.ErrorList) {
	out := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(c.DeepCopy(), out, nil); err != nil {
		return nil, field.ErrorList{field.InternalError(nil, fmt.Errorf("read the definition: %w", err))}
	}
	out.ObjectMeta = metav1.ObjectMeta{Name: c.Name, Annotations: map[string]string{}, ResourceVersion: "1"}
	if approved, ok := c.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation]; ok {
		out.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation] = approved
	}
	return out, nil
}

func validateDefinition(c *crd) field.ErrorList {
	in, errs := internal(c)
	if errs != nil {
		return errs
	}
	return validation.ValidateCustomResourceDefinition(context.Background(), in)
}

func validateDefinitionUpdate(c, old *crd) field.ErrorList {
	return compareDefinitions(c, old, validation.ValidateCustomResourceDefinitionUpdate)
}

func validateDefinitionStatus(c, old *crd) field.ErrorList {
	return compareDefinitions(c, old, validation.ValidateUpdateCustomResourceDefinitionStatus)
}

func compareDefinitions(c, old *crd, compare func(_ context.Context, c, old *apiextensions.CustomResourceDefinition) field.ErrorList) field.ErrorList {
	in, errs := internal(c)
	if errs != nil {
		return errs
	}
	was, errs := internal(old)
	if errs != nil {
		return errs
	}
	return compare(context.Background(), in, was)
}

// warnDefinition warns of what a definition says in vain.
func warnDefinition(c, old *crd) []string {
	warnings := schemaWarnings(c)
	if old == nil {
		return warnings
	}
	known := schemaWarnings(old)
	return slices.DeleteFunc(warnings, func(w string) bool { return slices.Contains(known, w) })
}

// schemaWarnings look at every part of every schema.
func schemaWarnings(c *crd) (warnings []string) {
	in, errs := internal(c)
	if errs != nil {
		return nil
	}
	look := func(s *apiextensions.JSONSchemaProps) bool {
		warnings = append(warnings, formatWarnings(s)...)
		warnings = append(warnings, setWarnings(s)...)
		return false
	}
	each := func(v *apiextensions.CustomResourceValidation) {
		if v != nil && v.OpenAPIV3Schema != nil {
			validation.SchemaHas(v.OpenAPIV3Schema, look)
		}
	}
	each(in.Spec.Validation)
	for i := range in.Spec.Versions {
		each(in.Spec.Versions[i].Schema)
	}
	slices.Sort(warnings)
	return slices.Compact(warnings)
}

// formatsSince is the version of Kubernetes whose formats are checked: the one before, as there.
var formatsSince = version.MajorMinor(1, 36)

// formatWarnings are about formats that nothing checks.
func formatWarnings(s *apiextensions.JSONSchemaProps) (warnings []string) {
	if s.Format == "" {
		return nil
	}
	for _, format := range formats.GetUnrecognizedFormats(&spec.Schema{SchemaProps: spec.SchemaProps{Format: s.Format, Type: []string{s.Type}}}, formatsSince) {
		warnings = append(warnings, fmt.Sprintf("unrecognized format %q", format))
	}
	return warnings
}

// setWarnings are about sets of what is not a scalar.
func setWarnings(s *apiextensions.JSONSchemaProps) []string {
	if s.XListType == nil || *s.XListType != "set" || s.Items == nil || s.Items.Schema == nil {
		return nil
	}
	if t := s.Items.Schema.Type; t == "object" || t == "array" {
		return []string{fmt.Sprintf("x-kubernetes-list-type: set for items of type %q is not supported by server-side apply or CEL validation rules", t)}
	}
	return nil
}
