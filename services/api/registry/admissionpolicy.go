package registry

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

func validatingAdmissionPolicy() *Kind {
	return define(Spec[*admissionv1.ValidatingAdmissionPolicy]{
		GVK: admission("ValidatingAdmissionPolicy"), Resource: "validatingadmissionpolicies", Singular: "validatingadmissionpolicy", Categories: apiExtensions,
		New:     func() *admissionv1.ValidatingAdmissionPolicy { return &admissionv1.ValidatingAdmissionPolicy{} },
		NewList: func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyList{} },
		Life: generations(func(o *admissionv1.ValidatingAdmissionPolicy) (*admissionv1.ValidatingAdmissionPolicySpec, *admissionv1.ValidatingAdmissionPolicyStatus) {
			return &o.Spec, &o.Status
		}),
		Default: func(p *admissionv1.ValidatingAdmissionPolicy) {
			defaultPolicy(&p.Spec.FailurePolicy, p.Spec.MatchConstraints)
		},
		Validate: func(p *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
			var e check.Errors
			s := field.NewPath("spec")
			validateAdmissionPolicy(&e, s, p.Spec.FailurePolicy, p.Spec.ParamKind, p.Spec.MatchConstraints, p.Spec.Variables, p.Spec.MatchConditions)
			if len(p.Spec.Validations) == 0 && len(p.Spec.AuditAnnotations) == 0 {
				e.Required(s.Child("validations"), "validations or auditAnnotations must contain at least one item")
				e.Required(s.Child("auditAnnotations"), "validations or auditAnnotations must contain at least one item")
			}
			for i, v := range p.Spec.Validations {
				validateValidation(&e, s.Child("validations").Index(i), &v)
			}
			validateAuditAnnotations(&e, s.Child("auditAnnotations"), p.Name, p.Spec.AuditAnnotations)
			return e.List()
		},
		Columns: columns("Name|Validations#|ParamKind|Age"),
		Cells: func(p *admissionv1.ValidatingAdmissionPolicy, now time.Time) []any {
			return []any{p.Name, int64(len(p.Spec.Validations)), paramKind(p.Spec.ParamKind), age(p.CreationTimestamp, now)}
		},
	})
}

func mutatingAdmissionPolicy() *Kind {
	return define(Spec[*admissionv1.MutatingAdmissionPolicy]{
		GVK: admission("MutatingAdmissionPolicy"), Resource: "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy", Categories: apiExtensions,
		New:     func() *admissionv1.MutatingAdmissionPolicy { return &admissionv1.MutatingAdmissionPolicy{} },
		NewList: func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyList{} },
		Life:    counted(func(p *admissionv1.MutatingAdmissionPolicy) any { return p.Spec }),
		Default: func(p *admissionv1.MutatingAdmissionPolicy) {
			defaultPolicy(&p.Spec.FailurePolicy, p.Spec.MatchConstraints)
		},
		Validate: func(p *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
			var e check.Errors
			s := field.NewPath("spec")
			validateAdmissionPolicy(&e, s, p.Spec.FailurePolicy, p.Spec.ParamKind, p.Spec.MatchConstraints, p.Spec.Variables, p.Spec.MatchConditions)
			if len(p.Spec.Mutations) == 0 {
				e.Required(s.Child("mutations"), "mutations must contain at least one item")
			}
			check.OneOf(&e, s.Child("reinvocationPolicy"), p.Spec.ReinvocationPolicy, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
			return e.List()
		},
		Columns: columns("Name|Mutations#|ParamKind|Age"),
		Cells: func(p *admissionv1.MutatingAdmissionPolicy, now time.Time) []any {
			return []any{p.Name, int64(len(p.Spec.Mutations)), paramKind(p.Spec.ParamKind), age(p.CreationTimestamp, now)}
		},
	})
}

func defaultPolicy(failure **admissionv1.FailurePolicyType, match *admissionv1.MatchResources) {
	point(failure, admissionv1.Fail)
	defaultMatch(match)
}

func defaultMatch(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	point(&m.MatchPolicy, admissionv1.Equivalent)
	point(&m.NamespaceSelector, metav1.LabelSelector{})
	point(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			point(&rules[i].Scope, admissionv1.AllScopes)
		}
	}
}

func paramKind(k *admissionv1.ParamKind) string {
	if k == nil {
		return "<unset>"
	}
	return k.APIVersion + "/" + k.Kind
}

func validatingAdmissionPolicyBinding() *Kind {
	return define(Spec[*admissionv1.ValidatingAdmissionPolicyBinding]{
		GVK: admission("ValidatingAdmissionPolicyBinding"), Resource: "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding", Categories: apiExtensions,
		New: func() *admissionv1.ValidatingAdmissionPolicyBinding {
			return &admissionv1.ValidatingAdmissionPolicyBinding{}
		},
		NewList: func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyBindingList{} },
		Life:    counted(func(b *admissionv1.ValidatingAdmissionPolicyBinding) any { return b.Spec }),
		Default: func(b *admissionv1.ValidatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) },
		Validate: func(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
			var e check.Errors
			p := field.NewPath("spec")
			if b.Spec.PolicyName != "" {
				e.Subdomain(p.Child("policyName"), b.Spec.PolicyName)
			}
			validatePolicyBinding(&e, p, b.Spec.ParamRef, b.Spec.MatchResources)
			for i, a := range b.Spec.ValidationActions {
				check.Among(&e, p.Child("validationActions").Index(i), a, admissionv1.Audit, admissionv1.Deny, admissionv1.Warn)
			}
			validateValidationActions(&e, p.Child("validationActions"), b.Spec.ValidationActions)
			e.NotEmpty(p.Child("policyName"), b.Spec.PolicyName)
			if len(b.Spec.ValidationActions) == 0 {
				e.Required(p.Child("validationActions"), "")
			}
			return e.List()
		},
		Columns: columns("Name|PolicyName|ParamRef|Age"),
		Cells: func(b *admissionv1.ValidatingAdmissionPolicyBinding, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), age(b.CreationTimestamp, now)}
		},
	})
}

func mutatingAdmissionPolicyBinding() *Kind {
	return define(Spec[*admissionv1.MutatingAdmissionPolicyBinding]{
		GVK: admission("MutatingAdmissionPolicyBinding"), Resource: "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding", Categories: apiExtensions,
		New: func() *admissionv1.MutatingAdmissionPolicyBinding {
			return &admissionv1.MutatingAdmissionPolicyBinding{}
		},
		NewList: func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyBindingList{} },
		Life:    counted(func(b *admissionv1.MutatingAdmissionPolicyBinding) any { return b.Spec }),
		Default: func(b *admissionv1.MutatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) },
		Validate: func(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
			var e check.Errors
			p := field.NewPath("spec")
			e.NotEmpty(p.Child("policyName"), b.Spec.PolicyName)
			validatePolicyBinding(&e, p, b.Spec.ParamRef, b.Spec.MatchResources)
			return e.List()
		},
		Columns: columns("Name|PolicyName|ParamRef|Age"),
		Cells: func(b *admissionv1.MutatingAdmissionPolicyBinding, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), age(b.CreationTimestamp, now)}
		},
	})
}

func paramRef(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
		return "<unset>"
	case r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r.Name != "":
		return "*/" + r.Name
	}
	return metav1.FormatLabelSelector(r.Selector)
}
