package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	celgo "github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/openapi"
)

// maxTypes is how many kinds a policy is checked against.
const maxTypes = 10

// warnings are what is wrong with a policy's expressions, if they were about objects of exactly the kinds that the policy
// names. A policy may well be right nevertheless: it is evaluated without types.
func (p *Plugin) warnings(policy *admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning {
	var checks []*typeCheck
	params := p.declared(paramsOf(policy))
	for _, gvk := range p.kindsOf(policy) {
		if object := p.declared(gvk); object != nil {
			if c := p.newTypeCheck(gvk, policy, object, params); c != nil {
				checks = append(checks, c)
			}
		}
	}
	var out []admissionregistrationv1.ExpressionWarning
	check := func(path *field.Path, text string) {
		var found []string
		for _, c := range checks {
			if r := c.compile(&checked{text}); r.Error != nil {
				found = append(found, fmt.Sprintf("%v: %s\n", c.gvk, r.Error))
			}
		}
		if len(found) > 0 {
			out = append(out, admissionregistrationv1.ExpressionWarning{FieldRef: path.String(), Warning: strings.Join(found, "\n")})
		}
	}
	for i, v := range policy.Spec.Validations {
		path := specPath.Child("validations").Index(i)
		check(path.Child("expression"), v.Expression)
		if v.MessageExpression != "" {
			check(path.Child("messageExpression"), v.MessageExpression)
		}
	}
	return out
}

func paramsOf(policy *admissionregistrationv1.ValidatingAdmissionPolicy) schema.GroupVersionKind {
	if k := policy.Spec.ParamKind; k != nil {
		return schema.FromAPIVersionAndKind(k.APIVersion, k.Kind)
	}
	return schema.GroupVersionKind{}
}

// kindsOf are the kinds that the policy's rules name; rules with wildcards name none.
func (p *Plugin) kindsOf(policy *admissionregistrationv1.ValidatingAdmissionPolicy) (out []schema.GroupVersionKind) {
	if policy.Spec.MatchConstraints == nil {
		return nil
	}
	for _, r := range policy.Spec.MatchConstraints.ResourceRules {
		if slices.Contains(r.APIGroups, "*") || slices.Contains(r.APIVersions, "*") {
			continue
		}
		for _, group := range r.APIGroups {
			for _, v := range r.APIVersions {
				for _, resource := range r.Resources {
					kind, ok := p.config.World.KindOf(schema.GroupVersionResource{Group: group, Version: v, Resource: resource})
					if ok && len(out) < maxTypes && !slices.Contains(out, kind.GroupVersionKind) {
						out = append(out, kind.GroupVersionKind)
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Version, b.Version), strings.Compare(a.Kind, b.Kind))
	})
	return out
}

// declared is a kind's type; nil when nothing is known of it.
func (p *Plugin) declared(gvk schema.GroupVersionKind) *apiservercel.DeclType {
	if gvk.Empty() {
		return nil
	}
	s, err := p.schemaOf(gvk)
	if err != nil || s == nil {
		return nil
	}
	t := openapi.SchemaDeclType(s, true)
	if t == nil {
		return nil
	}
	// Two versions of a kind must not be taken for the same type.
	return t.MaybeAssignTypeName(fmt.Sprintf("%s%d", gvk.Kind, time.Now().Nanosecond()))
}

// typeCheck compiles expressions about objects of one kind.
type typeCheck struct {
	gvk schema.GroupVersionKind
	env func(environment.Type) (*celgo.Env, error)
}

func (p *Plugin) newTypeCheck(gvk schema.GroupVersionKind, policy *admissionregistrationv1.ValidatingAdmissionPolicy, object, params *apiservercel.DeclType) *typeCheck {
	namespace, request := cel.BuildNamespaceType(), cel.BuildRequestType()
	options := environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0), DeclTypes: []*apiservercel.DeclType{namespace, request, object}, EnvOptions: []celgo.EnvOption{
		celgo.Variable(cel.NamespaceVarName, namespace.CelType()), celgo.Variable(cel.RequestVarName, request.CelType()),
		celgo.Variable(cel.ObjectVarName, object.CelType()), celgo.Variable(cel.OldObjectVarName, object.CelType()),
		celgo.Variable(cel.AuthorizerVarName, library.AuthorizerType), celgo.Variable(cel.RequestResourceAuthorizerVarName, library.ResourceCheckType),
	}}
	if params != nil {
		options.DeclTypes = append(options.DeclTypes, params)
		options.EnvOptions = append(options.EnvOptions, celgo.Variable(cel.ParamsVarName, params.CelType()))
	} else if policy.Spec.ParamKind != nil {
		options.EnvOptions = append(options.EnvOptions, celgo.Variable(cel.ParamsVarName, celgo.DynType))
	}
	typed, err := p.config.Compiler.Base().Extend(options)
	if err != nil {
		return nil
	}
	compiler, err := cel.NewCompositedCompilerForTypeChecking(typed)
	if err != nil {
		return nil
	}
	c := &typeCheck{gvk: gvk, env: compiler.Env}
	compiler.Compiler = c
	compiler.CompileAndStoreVariables(variables(policy.Spec.Variables), cel.OptionalVariableDeclarations{}, environment.StoredExpressions)
	return c
}

// checked is an expression of whatever type.
type checked struct{ text string }

func (e *checked) GetExpression() string      { return e.text }
func (e *checked) ReturnTypes() []*celgo.Type { return []*celgo.Type{celgo.AnyType} }

// CompileCELExpression implements cel.Compiler; it makes no program.
func (c *typeCheck) CompileCELExpression(accessor cel.ExpressionAccessor, _ cel.OptionalVariableDeclarations, mode environment.Type) cel.CompilationResult {
	failed := func(text string, kind apiservercel.ErrorType) cel.CompilationResult {
		return cel.CompilationResult{Error: &apiservercel.Error{Type: kind, Detail: text}, ExpressionAccessor: accessor}
	}
	env, err := c.env(mode)
	if err != nil {
		return failed(err.Error(), apiservercel.ErrorTypeInternal)
	}
	ast, issues := env.Compile(accessor.GetExpression())
	if issues != nil {
		return failed(issues.String(), apiservercel.ErrorTypeInvalid)
	}
	return cel.CompilationResult{OutputType: ast.OutputType()}
}

func (c *typeCheck) compile(accessor cel.ExpressionAccessor) cel.CompilationResult {
	return c.CompileCELExpression(accessor, cel.OptionalVariableDeclarations{}, environment.StoredExpressions)
}
