package server

import (
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkSelectors validates the selectors of an access review.
func checkSelectors(res *authorizationv1.ResourceAttributes, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	one := func(p *field.Path, raw string, requirements int) {
		switch {
		case raw != "" && requirements > 0:
			errs = append(errs, field.Invalid(p.Child("rawSelector"), raw, "may not specified at the same time as requirements"))
		case raw == "" && requirements == 0:
			errs = append(errs, field.Required(p.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", p)))
		}
	}
	if s := res.FieldSelector; s != nil {
		p := path.Child("fieldSelector")
		one(p, s.RawSelector, len(s.Requirements))
		for i, r := range s.Requirements {
			errs = append(errs, checkRequirement(p.Child("requirements").Index(i), r.Key, string(r.Operator), r.Values)...)
		}
	}
	if s := res.LabelSelector; s != nil {
		p := path.Child("labelSelector")
		one(p, s.RawSelector, len(s.Requirements))
		for i, r := range s.Requirements {
			errs = append(errs, checkRequirement(p.Child("requirements").Index(i), r.Key, string(r.Operator), r.Values)...)
		}
	}
	return errs
}

// checkRequirement lets unknown operators pass: newer clients may know more of them, and they are left out then.
func checkRequirement(p *field.Path, key, operator string, values []string) field.ErrorList {
	var errs field.ErrorList
	if key == "" {
		errs = append(errs, field.Required(p.Child("key"), "must be specified"))
	}
	switch metav1.LabelSelectorOperator(operator) {
	case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
		if len(values) == 0 {
			errs = append(errs, field.Required(p.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
		if len(values) > 0 {
			errs = append(errs, field.Forbidden(p.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	}
	return errs
}

// fieldSelectorOf writes a review's field selector as a request has it; what cannot be read is left out and told in
// ignored, as a note for the answer.
func fieldSelectorOf(s *authorizationv1.FieldSelectorAttributes) (selector, ignored string) {
	if s == nil {
		return "", ""
	}
	if s.RawSelector != "" {
		parsed, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return "", "spec.resourceAttributes.fieldSelector ignored due to parse error"
		}
		return parsed.String(), ""
	}
	var terms []string
	for _, r := range s.Requirements {
		switch {
		case len(r.Values) != 1:
		case r.Operator == metav1.FieldSelectorOpIn:
			terms = append(terms, r.Key+"="+fields.EscapeValue(r.Values[0]))
		case r.Operator == metav1.FieldSelectorOpNotIn:
			terms = append(terms, r.Key+"!="+fields.EscapeValue(r.Values[0]))
		}
	}
	switch {
	case len(terms) == len(s.Requirements):
	case len(terms) > 0:
		ignored = "spec.resourceAttributes.fieldSelector partially ignored due to parse error"
	default:
		ignored = "spec.resourceAttributes.fieldSelector ignored due to parse error"
	}
	return strings.Join(terms, ","), ignored
}

// labelSelectorNote says what of a review's label selector cannot be read. No rule looks at the rest of it.
func labelSelectorNote(s *authorizationv1.LabelSelectorAttributes) string {
	const all, part = "spec.resourceAttributes.labelSelector ignored due to parse error", "spec.resourceAttributes.labelSelector partially ignored due to parse error"
	if s == nil {
		return ""
	}
	if s.RawSelector != "" {
		if _, err := labels.Parse(s.RawSelector); err != nil {
			return all
		}
		return ""
	}
	good := 0
	for _, r := range s.Requirements {
		one := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r}}
		if _, err := metav1.LabelSelectorAsSelector(one); err == nil {
			good++
		}
	}
	switch {
	case good == len(s.Requirements):
		return ""
	case good > 0:
		return part
	}
	return all
}

// selectorNotes is what an answer says about selectors that could not be read.
func selectorNotes(res *authorizationv1.ResourceAttributes) []string {
	if res == nil {
		return nil
	}
	var out []string
	if _, note := fieldSelectorOf(res.FieldSelector); note != "" {
		out = append(out, note)
	}
	if note := labelSelectorNote(res.LabelSelector); note != "" {
		out = append(out, note)
	}
	return out
}
