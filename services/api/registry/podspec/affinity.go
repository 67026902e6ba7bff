package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func (s *scope) validateAffinity(p *field.Path) {
	a := s.spec.Affinity
	if a == nil {
		return
	}
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if n := a.NodeAffinity; n != nil {
		at := p.Child("nodeAffinity")
		if sel := n.RequiredDuringSchedulingIgnoredDuringExecution; sel != nil {
			ValidateNodeSelector(s.Errors, at.Child(required), sel)
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			t, at := &n.PreferredDuringSchedulingIgnoredDuringExecution[i], at.Child(preferred).Index(i)
			s.validateWeight(at, t.Weight)
			validateNodeTerm(s.Errors, at.Child("preference"), &t.Preference)
		}
	}
	pods := func(at *field.Path, must []corev1.PodAffinityTerm, want []corev1.WeightedPodAffinityTerm) {
		for i := range must {
			s.validatePodTerm(at.Child(required).Index(i), &must[i])
		}
		for i := range want {
			at := at.Child(preferred).Index(i)
			s.validateWeight(at, want[i].Weight)
			s.validatePodTerm(at.Child("podAffinityTerm"), &want[i].PodAffinityTerm)
		}
	}
	if a := a.PodAffinity; a != nil {
		pods(p.Child("podAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := a.PodAntiAffinity; a != nil {
		pods(p.Child("podAntiAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (s *scope) validateWeight(p *field.Path, weight int32) {
	s.If(weight <= 0 || weight > 100, p.Child("weight"), weight, "must be in the range 1-100")
}

// ValidateNodeSelector reports what is wrong with a choice of nodes.
func ValidateNodeSelector(e *check.Errors, p *field.Path, sel *corev1.NodeSelector) {
	terms := p.Child("nodeSelectorTerms")
	if len(sel.NodeSelectorTerms) == 0 {
		e.Required(terms, "must have at least one node selector term")
	}
	for i := range sel.NodeSelectorTerms {
		validateNodeTerm(e, terms.Index(i), &sel.NodeSelectorTerms[i])
	}
}

func validateNodeTerm(e *check.Errors, p *field.Path, t *corev1.NodeSelectorTerm) {
	for i := range t.MatchExpressions {
		validateNodeRequirement(e, p.Child("matchExpressions").Index(i), &t.MatchExpressions[i])
	}
	for i := range t.MatchFields {
		validateNodeField(e, p.Child("matchFields").Index(i), &t.MatchFields[i])
	}
}

func validateNodeRequirement(e *check.Errors, p *field.Path, r *corev1.NodeSelectorRequirement) {
	values := p.Child("values")
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			e.Required(values, "must be specified when `operator` is 'In' or 'NotIn'")
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			e.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			e.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		e.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	e.Add(metavalidation.ValidateLabelName(r.Key, p.Child("key"))...)
	for i, v := range r.Values {
		e.Messages(values.Index(i), v, utilvalidation.IsValidLabelValue(v))
	}
}

// validateNodeField: the name is the one field of a node that a pod may choose by.
func validateNodeField(e *check.Errors, p *field.Path, r *corev1.NodeSelectorRequirement) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			e.Required(p.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
	default:
		e.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	if r.Key != "metadata.name" {
		e.Invalid(p.Child("key"), r.Key, "not a valid field selector key")
		return
	}
	for i, v := range r.Values {
		e.Messages(p.Child("values").Index(i), v, validation.NameIsDNSSubdomain(v, false))
	}
}

func (s *scope) validatePodTerm(p *field.Path, t *corev1.PodAffinityTerm) {
	s.Selector(p.Child("labelSelector"), t.LabelSelector)
	s.Selector(p.Child("namespaceSelector"), t.NamespaceSelector)
	for _, ns := range t.Namespaces {
		s.Messages(p.Child("namespace"), ns, validation.ValidateNamespaceName(ns, false))
	}
	s.validateLabelKeys(p.Child("matchLabelKeys"), t.MatchLabelKeys, t.LabelSelector != nil)
	s.validateLabelKeys(p.Child("mismatchLabelKeys"), t.MismatchLabelKeys, t.LabelSelector != nil)
	if t.TopologyKey == "" {
		s.Required(p.Child("topologyKey"), "can not be empty")
	}
	s.Add(metavalidation.ValidateLabelName(t.TopologyKey, p.Child("topologyKey"))...)
}

func (s *scope) validateLabelKeys(p *field.Path, keys []string, selector bool) {
	if len(keys) > 0 && !selector {
		s.Forbidden(p, "must not be specified when labelSelector is not set")
	}
	for i, k := range keys {
		s.Add(metavalidation.ValidateLabelName(k, p.Index(i))...)
	}
}
