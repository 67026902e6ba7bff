package schema

import (
	"context"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
)

// Validate returns what is wrong with a new object, given whole, with apiVersion, kind and metadata.
func (s *Schema) Validate(object map[string]any) field.ErrorList {
	v, structural, errs := s.compiled()
	if errs != nil {
		return errs
	}
	errs = validation.ValidateCustomResource(nil, object, v.whole)
	errs = append(errs, objectmeta.Validate(context.Background(), nil, object, structural, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, structural, object)...)
	return v.check(structural, errs, object, nil)
}

// ValidateUpdate returns what is wrong with an object that replaces old. What was wrong before and is the same is
// forgiven, so that a schema can become stricter.
func (s *Schema) ValidateUpdate(object, old map[string]any) field.ErrorList {
	v, structural, errs := s.compiled()
	if errs != nil {
		return errs
	}
	same := common.NewCorrelatedObject(object, old, &model.Structural{Structural: structural})
	errs = validation.ValidateCustomResourceUpdate(nil, object, old, v.whole, validation.WithRatcheting(same))
	errs = append(errs, objectmeta.Validate(context.Background(), nil, object, structural, false)...)
	errs = append(errs, lists(structural, object, old)...)
	return v.check(structural, errs, object, old, cel.WithRatcheting(same))
}

// ValidateStatus is ValidateUpdate for objects that differ in their status only.
func (s *Schema) ValidateStatus(object, old map[string]any) field.ErrorList {
	v, structural, errs := s.compiled()
	if errs != nil {
		return errs
	}
	same := common.NewCorrelatedObject(object, old, &model.Structural{Structural: structural})
	if status, ok := object["status"]; ok && v.status != nil {
		errs = validation.ValidateCustomResourceUpdate(field.NewPath("status"), status, old["status"], v.status, validation.WithRatcheting(same.Key("status")))
	}
	errs = append(errs, lists(structural, object, old)...)
	return v.check(structural, errs, object, old, cel.WithRatcheting(same))
}

// compiled returns a structural schema in any case, so that all of the above need not ask.
func (s *Schema) compiled() (*validators, *schema.Structural, field.ErrorList) {
	v, err := s.validators.get(s.buildValidators)
	if err != nil {
		return nil, nil, field.ErrorList{field.InternalError(nil, err)}
	}
	structural, err := s.tree()
	if err != nil {
		return nil, nil, field.ErrorList{field.InternalError(nil, err)}
	}
	if structural == nil {
		structural = &schema.Structural{}
	}
	return v, structural, nil
}

// lists checks sets and maps for duplicates, unless there were some before.
func lists(structural *schema.Structural, object, old map[string]any) field.ErrorList {
	errs := listtype.ValidateListSetsAndMaps(nil, structural, object)
	if len(errs) > 0 && len(listtype.ValidateListSetsAndMaps(nil, structural, old)) > 0 {
		return nil
	}
	return errs
}

// blocking are the mistakes after which the rules cannot be evaluated: they may rely on types and bounds.
var blocking = map[field.ErrorType]bool{
	field.ErrorTypeNotSupported: true, field.ErrorTypeRequired: true, field.ErrorTypeTooLong: true,
	field.ErrorTypeTooMany: true, field.ErrorTypeTypeInvalid: true,
}

// check adds what the rules (x-kubernetes-validations) say. All of an object's rules share one budget of cost.
func (v *validators) check(structural *schema.Structural, errs field.ErrorList, object, old map[string]any, options ...cel.Option) field.ErrorList {
	if v.rules == nil {
		return errs
	}
	for _, e := range errs {
		if blocking[e.Type] {
			return append(errs, field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
		}
	}
	// A nil map would count as an old object that is empty.
	var before any
	if old != nil {
		before = old
	}
	found, _ := v.rules.Validate(context.Background(), nil, structural, object, before, celconfig.RuntimeCELCostBudget, options...)
	return append(errs, found...)
}
