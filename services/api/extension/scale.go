package extension

import (
	"fmt"
	"math"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry"
)

// scale is where an object keeps what the scale subresource shows. All methods work on nil: no scale.
type scale struct {
	spec, status, selector []string
	declared               *apiextensionsv1.CustomResourceSubresourceScale
}

func newScale(declared *apiextensionsv1.CustomResourceSubresourceScale) *scale {
	s := &scale{spec: split(declared.SpecReplicasPath), status: split(declared.StatusReplicasPath), declared: declared}
	if declared.LabelSelectorPath != nil && *declared.LabelSelectorPath != "" {
		s.selector = split(*declared.LabelSelectorPath)
	}
	return s
}

// split takes a path apart: ".spec.replicas".
func split(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

func (s *scale) access() *registry.Scale {
	return &registry.Scale{
		Get: func(obj registry.Object) (spec, status int32, selector string) {
			fields := obj.(*Custom).Fields
			desired, _, _ := unstructured.NestedInt64(fields, s.spec...)
			actual, _, _ := unstructured.NestedInt64(fields, s.status...)
			if s.selector != nil {
				selector, _, _ = unstructured.NestedString(fields, s.selector...)
			}
			return int32(desired), int32(actual), selector
		},
		// A path through something that is no object was refused when the object was written.
		Set: func(obj registry.Object, replicas int32) {
			_ = unstructured.SetNestedField(obj.(*Custom).Fields, int64(replicas), s.spec...)
		},
	}
}

func (s *scale) validate(c *Custom) field.ErrorList {
	if s == nil {
		return nil
	}
	return append(checkReplicas(c.Fields, s.declared.SpecReplicasPath, s.spec), s.validateStatus(c)...)
}

func (s *scale) validateStatus(c *Custom) field.ErrorList {
	if s == nil {
		return nil
	}
	errs := checkReplicas(c.Fields, s.declared.StatusReplicasPath, s.status)
	if s.selector != nil {
		if selector, _, err := unstructured.NestedString(c.Fields, s.selector...); err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*s.declared.LabelSelectorPath), selector, err.Error()))
		}
	}
	return errs
}

func checkReplicas(fields map[string]any, path string, parts []string) field.ErrorList {
	replicas, _, err := unstructured.NestedInt64(fields, parts...)
	at := field.NewPath(path)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, replicas, err.Error())}
	case replicas < 0:
		return field.ErrorList{field.Invalid(at, replicas, "should be a non-negative integer")}
	case replicas > math.MaxInt32:
		return field.ErrorList{field.Invalid(at, replicas, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32))}
	}
	return nil
}
