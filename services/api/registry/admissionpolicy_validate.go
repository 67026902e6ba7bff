package registry

import (
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// validateAdmissionPolicy checks what validating and mutating policies have in common. Admission compiles the expressions.
func validateAdmissionPolicy(e *check.Errors, p *field.Path, failure *admissionv1.FailurePolicyType, kind *admissionv1.ParamKind,
	match *admissionv1.MatchResources, variables []admissionv1.Variable, conditions []admissionv1.MatchCondition) {
	validateFailurePolicy(e, p, failure)
	if kind != nil {
		if e.NotEmpty(p.Child("paramKind", "apiVersion"), kind.APIVersion) {
			if _, err := schema.ParseGroupVersion(kind.APIVersion); err != nil {
				e.Invalid(p.Child("paramKind", "apiVersion"), kind.APIVersion, err.Error())
			}
		}
		e.NotEmpty(p.Child("paramKind", "kind"), kind.Kind)
	}
	if match == nil {
		e.Required(p.Child("matchConstraints"), "")
	} else {
		validateMatchResources(e, p.Child("matchConstraints"), match)
		if len(match.ResourceRules) == 0 {
			e.Required(p.Child("matchConstraints", "resourceRules"), "")
		}
	}
	validateMatchConditions(e, p.Child("matchConditions"), conditions)
	seen := map[string]bool{}
	for i, v := range variables {
		path := p.Child("variables").Index(i)
		if specified(e, path, "name", v.Name) {
			e.If(!identifier.MatchString(v.Name), path.Child("name"), v.Name, "name is not a valid CEL identifier")
		}
		if seen[v.Name] {
			e.Duplicate(path.Child("name"), v.Name)
		}
		seen[v.Name] = true
		specified(e, path, "expression", v.Expression)
	}
}

// specified reports a text that is empty and returns whether there is one.
func specified(e *check.Errors, p *field.Path, name, value string) bool {
	if strings.TrimSpace(value) == "" {
		e.Required(p.Child(name), name+" is not specified")
		return false
	}
	return true
}

// identifier is how variables of CEL are called.
var identifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

func validateMatchResources(e *check.Errors, p *field.Path, m *admissionv1.MatchResources) {
	validateMatchPolicy(e, p, m.MatchPolicy)
	e.Selector(p.Child("namespaceSelector"), m.NamespaceSelector)
	e.Selector(p.Child("objectSelector"), m.ObjectSelector)
	for name, rules := range map[string][]admissionv1.NamedRuleWithOperations{"resourceRules": m.ResourceRules, "excludeResourceRules": m.ExcludeResourceRules} {
		for i := range rules {
			path := p.Child(name).Index(i)
			validateHookRule(e, path, &rules[i].RuleWithOperations)
			seen := map[string]bool{}
			for j, resource := range rules[i].ResourceNames {
				if seen[resource] {
					e.Duplicate(path.Child("resourceNames").Index(j), resource)
				}
				seen[resource] = true
			}
		}
	}
}

// reasons are those that a validation may give.
var reasons = []metav1.StatusReason{
	metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnauthorized,
}

func validateValidation(e *check.Errors, p *field.Path, v *admissionv1.Validation) {
	specified(e, p, "expression", v.Expression)
	if v.Message != "" {
		e.If(strings.TrimSpace(v.Message) == "", p.Child("message"), v.Message, "message must be non-empty if specified")
		e.If(strings.Contains(strings.TrimSpace(v.Message), "\n"), p.Child("message"), v.Message, "message must not contain line breaks")
	} else if strings.Contains(strings.TrimSpace(v.Expression), "\n") {
		e.Required(p.Child("message"), "message must be specified if expression contains line breaks")
	}
	if v.Reason != nil {
		check.Among(e, p.Child("reason"), *v.Reason, reasons...)
	}
}

func validateAuditAnnotations(e *check.Errors, p *field.Path, policy string, all []admissionv1.AuditAnnotation) {
	const most = 20
	if len(all) > most {
		e.Invalid(p, all, "must not have more than 20 auditAnnotations")
	}
	seen := map[string]bool{}
	for i, a := range all {
		path := p.Index(i)
		if e.NotEmpty(path.Child("key"), a.Key) && policy != "" {
			e.Qualified(path.Child("key"), policy+"/"+a.Key)
		}
		if seen[a.Key] {
			e.Duplicate(path.Child("key"), a.Key)
		}
		seen[a.Key] = true
		specified(e, path, "valueExpression", a.ValueExpression)
	}
}

func validateValidationActions(e *check.Errors, p *field.Path, actions []admissionv1.ValidationAction) {
	for i, a := range actions {
		if slices.Contains(actions[:i], a) {
			e.Duplicate(p.Index(i), a)
		}
	}
	e.If(slices.Contains(actions, admissionv1.Deny) && slices.Contains(actions, admissionv1.Warn), p, actions,
		"must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)")
}

func validatePolicyBinding(e *check.Errors, p *field.Path, ref *admissionv1.ParamRef, match *admissionv1.MatchResources) {
	if match != nil {
		validateMatchResources(e, p.Child("matchResources"), match)
	}
	if ref == nil {
		return
	}
	p = p.Child("paramRef")
	switch {
	case ref.Name == "" && ref.Selector == nil:
		e.Required(p, "one of name or selector must be specified")
	case ref.Name != "" && ref.Selector != nil:
		e.Forbidden(p.Child("name"), "name and selector are mutually exclusive")
	}
	e.Selector(p.Child("selector"), ref.Selector)
	if ref.ParameterNotFoundAction == nil {
		e.Required(p.Child("parameterNotFoundAction"), "")
		return
	}
	check.Among(e, p.Child("parameterNotFoundAction"), *ref.ParameterNotFoundAction, admissionv1.AllowAction, admissionv1.DenyAction)
}
