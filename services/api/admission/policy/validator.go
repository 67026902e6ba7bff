package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"karve.dev/karve/services/api/admission/expression"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/registry"
)

// validator is a ValidatingAdmissionPolicy.
type validator struct {
	*admissionregistrationv1.ValidatingAdmissionPolicy
	criteria *match.Criteria
	// broken is why the criteria cannot be read.
	broken   error
	compiled func() *judge
}

// judge is a policy's expressions, compiled.
type judge struct {
	conditions                    *expression.Conditions
	validations, messages, audits cel.ConditionEvaluator
	err                           error
}

func (p *Plugin) validator(obj registry.Object) *validator {
	v := &validator{ValidatingAdmissionPolicy: obj.(*admissionregistrationv1.ValidatingAdmissionPolicy)}
	v.ManagedFields = nil
	v.criteria, v.broken = match.New(v.Spec.MatchConstraints)
	v.compiled = sync.OnceValue(func() *judge { return p.compile(&v.Spec) })
	return v
}

var (
	boolean = []*celgo.Type{celgo.BoolType}
	text    = []*celgo.Type{celgo.StringType}
	note    = []*celgo.Type{celgo.StringType, celgo.NullType}
	any_    = []*celgo.Type{celgo.AnyType, celgo.DynType}
)

func (p *Plugin) compile(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) *judge {
	compiler, err := p.config.Compiler.For(len(spec.Variables))
	if err != nil {
		return &judge{err: err}
	}
	declared := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	compiler.CompileAndStoreVariables(variables(spec.Variables), declared, environment.StoredExpressions)
	j := &judge{}
	if len(spec.MatchConditions) > 0 {
		j.conditions = expression.Composed(compiler.CompileCondition(expression.ConditionAccessors(spec.MatchConditions), declared, environment.StoredExpressions))
	}
	validations, messages := make([]cel.ExpressionAccessor, len(spec.Validations)), make([]cel.ExpressionAccessor, len(spec.Validations))
	for i, v := range spec.Validations {
		validations[i] = &expression.Accessor{Expression: v.Expression, Types: boolean}
		if v.MessageExpression != "" {
			messages[i] = &expression.Accessor{Expression: v.MessageExpression, Types: text}
		}
	}
	audits := make([]cel.ExpressionAccessor, len(spec.AuditAnnotations))
	for i, a := range spec.AuditAnnotations {
		audits[i] = &expression.Accessor{Name: a.Key, Expression: a.ValueExpression, Types: note}
	}
	j.validations = compiler.CompileCondition(validations, declared, environment.StoredExpressions)
	j.audits = compiler.CompileCondition(audits, declared, environment.StoredExpressions)
	declared.HasAuthorizer = false
	j.messages = compiler.CompileCondition(messages, declared, environment.StoredExpressions)
	return j
}

func variables(all []admissionregistrationv1.Variable) []cel.NamedExpressionAccessor {
	out := make([]cel.NamedExpressionAccessor, len(all))
	for i, v := range all {
		out[i] = &expression.Accessor{Name: v.Name, Expression: v.Expression, Types: any_}
	}
	return out
}

// finding is what one validation says against a write.
type finding struct {
	index   int
	message string
	reason  metav1.StatusReason
	// failed: it could not be evaluated.
	failed bool
}

// judgement is what a policy says about a write, with one set of parameters.
type judgement struct {
	findings []finding
	// notes are for the audit log, by key; failures are notes that could not be made.
	notes    [][2]string
	failures []string
}

// judge evaluates the policy.
func (v *validator) judge(ctx context.Context, s *subject, in *expression.Input, params runtime.Object) (judgement, error) {
	j := v.compiled()
	failed := func(err error) (judgement, error) {
		return judgement{findings: []finding{{message: err.Error(), failed: true}}}, nil
	}
	if j.err != nil {
		return failed(j.err)
	}
	authorizer := s.plugin.authorizer
	if ok, err := j.conditions.Match(ctx, in, params, authorizer); err != nil {
		return failed(err)
	} else if !ok {
		return judgement{}, nil
	}
	ns, err := s.namespaceObject(ctx)
	if err != nil {
		return judgement{}, err
	}
	ns = cel.CreateNamespaceObject(ns)
	bindings := cel.OptionalVariableBindings{VersionedParams: params, Authorizer: authorizer}
	results, budget, err := j.validations.ForInput(ctx, in.Attributes, in.Request, bindings, ns, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return failed(err)
	}
	plain := cel.OptionalVariableBindings{VersionedParams: params}
	messages, _, messageErr := j.messages.ForInput(ctx, in.Attributes, in.Request, plain, ns, budget)
	var out judgement
	for i, r := range results {
		var message cel.EvaluationResult
		if i < len(messages) {
			message = messages[i]
		}
		if f := v.finding(i, r, message, messageErr); f != nil {
			out.findings = append(out.findings, *f)
		}
	}
	audits, _, err := j.audits.ForInput(ctx, in.Attributes, in.Request, bindings, ns, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return failed(err)
	}
	for _, r := range audits {
		out.note(r)
	}
	return out, nil
}

// finding judges the outcome of one validation; nil when there is nothing to say.
func (v *validator) finding(i int, r, message cel.EvaluationResult, messageErr error) *finding {
	declared := &v.Spec.Validations[i]
	switch {
	case r.Error != nil:
		return &finding{index: i, message: r.Error.Error(), failed: true}
	case errors.Is(messageErr, apiservercel.ErrInternal) || errors.Is(messageErr, apiservercel.ErrOutOfBudget):
		return &finding{index: i, message: fmt.Sprintf("failed messageExpression: %s", messageErr), failed: true}
	case r.EvalResult == types.True:
		return nil
	}
	f := &finding{index: i, message: evaluated(message), reason: metav1.StatusReasonInvalid}
	if declared.Reason != nil {
		f.reason = *declared.Reason
	}
	if f.message == "" {
		f.message = strings.TrimSpace(declared.Message)
	}
	if f.message == "" {
		f.message = "failed expression: " + strings.TrimSpace(declared.Expression)
	}
	return f
}

// evaluated is the text that a messageExpression made; empty when it is none that can be shown.
func evaluated(r cel.EvaluationResult) string {
	if r.Error != nil || r.EvalResult == nil {
		return ""
	}
	message, _ := r.EvalResult.Value().(string)
	message = strings.TrimSpace(message)
	if len(message) > celconfig.MaxEvaluatedMessageExpressionSizeBytes || strings.Contains(message, "\n") {
		return ""
	}
	return message
}

// note takes the outcome of an expression for the audit log.
func (j *judgement) note(r cel.EvaluationResult) {
	accessor, _ := r.ExpressionAccessor.(*expression.Accessor)
	switch {
	case accessor == nil:
	case r.Error != nil:
		j.failures = append(j.failures, r.Error.Error())
	case r.EvalResult.Type() == types.StringType:
		if value := strings.TrimSpace(r.EvalResult.Value().(string)); value != "" {
			j.notes = append(j.notes, [2]string{accessor.Name, value})
		}
	case r.EvalResult.Type() != types.NullType:
		j.failures = append(j.failures, fmt.Sprintf("valueExpression '%v' resulted in unsupported return type: %v. Return type must be either string or null.",
			accessor.Expression, r.EvalResult.Type()))
	}
}
