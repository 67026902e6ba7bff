package expression

import (
	"context"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Conditions are the match conditions of a webhook or a policy, compiled when they are first evaluated.
type Conditions struct {
	compiled func() (cel.ConditionEvaluator, error)
}

// Conditions returns the conditions of a webhook; nil for none.
func (c *Compiler) Conditions(all []admissionregistrationv1.MatchCondition) *Conditions {
	if len(all) == 0 {
		return nil
	}
	return &Conditions{sync.OnceValues(func() (cel.ConditionEvaluator, error) {
		compiler, err := c.plain()
		if err != nil {
			return nil, err
		}
		return compiler.CompileCondition(ConditionAccessors(all), cel.OptionalVariableDeclarations{HasAuthorizer: true}, environment.StoredExpressions), nil
	})}
}

// Composed are the conditions of a policy, which the policy has compiled.
func Composed(compiled cel.ConditionEvaluator) *Conditions {
	return &Conditions{func() (cel.ConditionEvaluator, error) { return compiled, nil }}
}

// ConditionAccessors are the expressions of match conditions.
func ConditionAccessors(all []admissionregistrationv1.MatchCondition) []cel.ExpressionAccessor {
	out := make([]cel.ExpressionAccessor, len(all))
	for i, m := range all {
		out[i] = &Accessor{Name: m.Name, Expression: m.Expression, Types: []*celgo.Type{celgo.BoolType}}
	}
	return out
}

// Match reports whether all conditions are true; nil Conditions are. One that is false settles it, whatever is wrong with
// the others; else what is wrong is the error.
func (c *Conditions) Match(ctx context.Context, in *Input, params runtime.Object, authorizer authorizer.UnconditionalAuthorizer) (bool, error) {
	if c == nil {
		return true, nil
	}
	compiled, err := c.compiled()
	if err != nil {
		return false, err
	}
	bindings := cel.OptionalVariableBindings{VersionedParams: params, Authorizer: authorizer}
	results, _, err := compiled.ForInput(ctx, in.Attributes, in.Request, bindings, nil, celconfig.RuntimeCELCostBudgetMatchConditions)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, r := range results {
		switch {
		case r.Error != nil:
			errs = append(errs, r.Error)
		case r.EvalResult == types.False:
			return false, nil
		}
	}
	return len(errs) == 0, utilerrors.NewAggregate(errs)
}
