package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"karve.dev/karve/services/api/admission/expression"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/registry"
)

// mutator is a MutatingAdmissionPolicy.
type mutator struct {
	*admissionregistrationv1.MutatingAdmissionPolicy
	criteria *match.Criteria
	// broken is why the criteria cannot be read.
	broken   error
	compiled func() *editor
}

// editor is a policy's expressions, compiled.
type editor struct {
	conditions *expression.Conditions
	patchers   []patch.Patcher
	// variables make the policy's variables known to the patchers.
	variables cel.CompositedCompiler
	err       error
}

func (p *Plugin) mutator(obj registry.Object) *mutator {
	m := &mutator{MutatingAdmissionPolicy: obj.(*admissionregistrationv1.MutatingAdmissionPolicy)}
	m.ManagedFields = nil
	m.criteria, m.broken = match.New(m.Spec.MatchConstraints)
	m.compiled = sync.OnceValue(func() *editor { return p.edit(&m.Spec) })
	return m
}

func (p *Plugin) edit(spec *admissionregistrationv1.MutatingAdmissionPolicySpec) *editor {
	compiler, err := p.config.Compiler.For(len(spec.Variables))
	if err != nil {
		return &editor{err: err}
	}
	declared := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	compiler.CompileAndStoreVariables(variables(spec.Variables), declared, environment.StoredExpressions)
	e := &editor{}
	if len(spec.MatchConditions) > 0 {
		e.conditions = expression.Composed(compiler.CompileCondition(expression.ConditionAccessors(spec.MatchConditions), declared, environment.StoredExpressions))
	}
	declared.HasPatchTypes = true
	for i := range spec.Mutations {
		if m := &spec.Mutations[i]; m.JSONPatch != nil {
			accessor := &patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}
			e.patchers = append(e.patchers, patch.NewJSONPatcher(compiler.CompileMutatingEvaluator(accessor, declared, environment.StoredExpressions)))
		} else if m.ApplyConfiguration != nil {
			accessor := &patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}
			e.patchers = append(e.patchers, patch.NewApplyConfigurationPatcher(compiler.CompileMutatingEvaluator(accessor, declared, environment.StoredExpressions)))
		}
	}
	// The environments that it has compiled in are the most of a compiler, and of no use any more.
	e.variables = *compiler
	e.variables.Compiler, e.variables.ConditionCompiler, e.variables.MutatingCompiler = nil, nil, nil
	return e
}

// plainInterfaces read and write objects as maps, as which patchers get them.
var plainInterfaces = upstream.NewObjectInterfacesFromScheme(runtime.NewScheme())

// edit lets one policy change the object, with one set of parameters; applied is false when its conditions are not met.
func (m *mutator) edit(ctx context.Context, s *subject, kind *registry.Kind, params runtime.Object) (applied bool, err error) {
	e := m.compiled()
	if e.err != nil {
		return false, e.err
	}
	in, err := s.plainInput(kind)
	if err != nil {
		return false, err
	}
	if ok, err := e.conditions.Match(ctx, in, params, s.plugin.authorizer); err != nil || !ok {
		return false, err
	}
	ns, err := s.namespaceObject(ctx)
	if err != nil {
		return false, err
	}
	if s.Object == nil {
		return true, nil
	}
	ctx = e.variables.CreateContext(ctx)
	for _, patcher := range e.patchers {
		request := patch.Request{
			MatchedResource: in.Resource, VersionedAttributes: in.Attributes, ObjectInterfaces: plainInterfaces, Namespace: ns,
			OptionalVariables: cel.OptionalVariableBindings{VersionedParams: params, Authorizer: s.plugin.authorizer},
			TypeConverter:     s.plugin.config.Types(kind),
		}
		out, err := patcher.Patch(ctx, request, celconfig.RuntimeCELCostBudget)
		if err != nil {
			return true, err
		}
		if in, err = s.take(kind, out); err != nil {
			return true, err
		}
	}
	return true, nil
}

// plainInput returns the write in a version as maps, for expressions that change it.
func (s *subject) plainInput(kind *registry.Kind) (*expression.Input, error) {
	view, err := s.views.Of(kind)
	if err != nil {
		return nil, err
	}
	return expression.NewInput(view, true)
}

// take makes what a patcher has made the object, and returns the write as it is then.
func (s *subject) take(kind *registry.Kind, out runtime.Object) (*expression.Input, error) {
	view, err := s.views.Of(kind)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("read what the policy made: %w", err)
	}
	record := s.Object.GetManagedFields()
	if err := s.views.Replace(view, data, kind.Custom == nil); err != nil {
		return nil, err
	}
	s.Object.SetManagedFields(record)
	return s.plainInput(kind)
}
