package policy

import (
	"fmt"

	"github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/cel/environment"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/expression"
)

// checkExpressions refuses policies and webhooks whose expressions do not compile. What was stored once stays valid.
func (p *Plugin) checkExpressions(a *admission.Attributes) error {
	if a.Kind.Group != admissionregistrationv1.GroupName || a.Subresource != "" || a.Object == nil {
		return nil
	}
	var errs field.ErrorList
	switch o := a.Object.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		if was, ok := a.Old.(*admissionregistrationv1.ValidatingAdmissionPolicy); !ok || !equality.Semantic.DeepEqual(was.Spec, o.Spec) {
			errs = p.checkValidating(&o.Spec)
		}
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		if was, ok := a.Old.(*admissionregistrationv1.MutatingAdmissionPolicy); !ok || !equality.Semantic.DeepEqual(was.Spec, o.Spec) {
			errs = p.checkMutating(&o.Spec)
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		was, _ := a.Old.(*admissionregistrationv1.ValidatingWebhookConfiguration)
		for i := range o.Webhooks {
			if was == nil || i >= len(was.Webhooks) || !equality.Semantic.DeepEqual(was.Webhooks[i].MatchConditions, o.Webhooks[i].MatchConditions) {
				errs = append(errs, p.checkHook(i, o.Webhooks[i].MatchConditions)...)
			}
		}
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		was, _ := a.Old.(*admissionregistrationv1.MutatingWebhookConfiguration)
		for i := range o.Webhooks {
			if was == nil || i >= len(was.Webhooks) || !equality.Semantic.DeepEqual(was.Webhooks[i].MatchConditions, o.Webhooks[i].MatchConditions) {
				errs = append(errs, p.checkHook(i, o.Webhooks[i].MatchConditions)...)
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(a.Kind.GroupKind(), a.Name, errs)
}

// checker compiles one expression after the other and collects what is wrong.
type checker struct {
	compiler *plugincel.CompositedCompiler
	declared plugincel.OptionalVariableDeclarations
	errs     field.ErrorList
}

func (p *Plugin) checker(params bool, variables int) (*checker, error) {
	compiler, err := p.config.Compiler.For(variables)
	if err != nil {
		return nil, fmt.Errorf("make the compiler of expressions: %w", err)
	}
	return &checker{compiler: compiler, declared: plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}}, nil
}

func (c *checker) check(path *field.Path, accessor plugincel.ExpressionAccessor) {
	c.report(path, accessor, c.compiler.CompileCELExpression(accessor, c.declared, environment.NewExpressions))
}

func (c *checker) report(path *field.Path, accessor plugincel.ExpressionAccessor, r plugincel.CompilationResult) {
	if r.Error != nil {
		c.errs = append(c.errs, field.Invalid(path, accessor.GetExpression(), r.Error.Detail))
	}
}

func (c *checker) expression(path *field.Path, text string, types []*cel.Type) {
	c.check(path, &expression.Accessor{Expression: text, Types: types})
}

func (c *checker) common(path *field.Path, variables []admissionregistrationv1.Variable, conditions []admissionregistrationv1.MatchCondition) {
	for i, v := range variables {
		accessor := &expression.Accessor{Name: v.Name, Expression: v.Expression, Types: any_}
		c.report(path.Child("variables").Index(i).Child("expression"), accessor, c.compiler.CompileAndStoreVariable(accessor, c.declared, environment.NewExpressions))
	}
	for i, m := range conditions {
		c.expression(path.Child("matchConditions").Index(i).Child("expression"), m.Expression, boolean)
	}
}

var specPath = field.NewPath("spec")

func (p *Plugin) checkValidating(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) field.ErrorList {
	c, err := p.checker(spec.ParamKind != nil, len(spec.Variables))
	if err != nil {
		return field.ErrorList{field.InternalError(specPath, err)}
	}
	c.common(specPath, spec.Variables, spec.MatchConditions)
	for i, v := range spec.Validations {
		c.expression(specPath.Child("validations").Index(i).Child("expression"), v.Expression, boolean)
	}
	for i, a := range spec.AuditAnnotations {
		c.expression(specPath.Child("auditAnnotations").Index(i).Child("valueExpression"), a.ValueExpression, note)
	}
	c.declared.HasAuthorizer = false
	for i, v := range spec.Validations {
		if v.MessageExpression != "" {
			c.expression(specPath.Child("validations").Index(i).Child("messageExpression"), v.MessageExpression, text)
		}
	}
	return c.errs
}

func (p *Plugin) checkMutating(spec *admissionregistrationv1.MutatingAdmissionPolicySpec) field.ErrorList {
	c, err := p.checker(spec.ParamKind != nil, len(spec.Variables))
	if err != nil {
		return field.ErrorList{field.InternalError(specPath, err)}
	}
	c.common(specPath, spec.Variables, spec.MatchConditions)
	c.declared.HasPatchTypes = true
	for i := range spec.Mutations {
		path := specPath.Child("mutations").Index(i)
		switch m := &spec.Mutations[i]; {
		case m.PatchType == admissionregistrationv1.PatchTypeJSONPatch && m.JSONPatch != nil:
			c.check(path.Child("jsonPatch", "expression"), &patch.JSONPatchCondition{Expression: m.JSONPatch.Expression})
		case m.PatchType == admissionregistrationv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			c.check(path.Child("applyConfiguration", "expression"), &patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression})
		default:
			c.errs = append(c.errs, field.Invalid(path.Child("patchType"), m.PatchType, "must be JSONPatch or ApplyConfiguration, with the field of that name"))
		}
	}
	return c.errs
}

func (p *Plugin) checkHook(index int, conditions []admissionregistrationv1.MatchCondition) field.ErrorList {
	if len(conditions) == 0 {
		return nil
	}
	path := field.NewPath("webhooks").Index(index)
	c, err := p.checker(false, 0)
	if err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	c.common(path, nil, conditions)
	return c.errs
}
