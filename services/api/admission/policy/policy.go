// Package policy judges and changes writes by the expressions of ValidatingAdmissionPolicies and MutatingAdmissionPolicies
// that are bound to them. A policy is compiled when a write first meets it.
package policy

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/expression"
	"karve.dev/karve/services/api/admission/match"
	"karve.dev/karve/services/api/registry"
)

// Config makes a Plugin; all is required.
type Config struct {
	World     match.World
	Compiler  *expression.Compiler
	Authorize expression.Authorize
	// Types tells how the objects of a kind merge.
	Types func(k *registry.Kind) managedfields.TypeConverter
	// OpenAPI returns the document of a group version, empty where there is none.
	OpenAPI func(groupVersion string, major int) (document []byte, tag string, err error)
	// Store changes the status of a policy.
	Store func(ctx context.Context, name string, change func(*admissionregistrationv1.ValidatingAdmissionPolicy))
}

// Plugin is an admission plugin. It is safe for concurrent use.
type Plugin struct {
	config             Config
	authorizer         expression.Authorizer
	validators         *match.Set[*validator]
	validatingBindings *match.Set[*binding]
	mutators           *match.Set[*mutator]
	mutatingBindings   *match.Set[*binding]
}

var _ admission.Validator = (*Plugin)(nil)

// New returns a Plugin.
func New(config Config) *Plugin {
	p := &Plugin{config: config, authorizer: expression.Authorizer{Decide: config.Authorize}}
	group := admissionregistrationv1.SchemeGroupVersion
	p.validators = match.NewSet(config.World, group.WithKind("ValidatingAdmissionPolicy"), p.validator)
	p.validatingBindings = match.NewSet(config.World, group.WithKind("ValidatingAdmissionPolicyBinding"), validatingBinding)
	p.mutators = match.NewSet(config.World, group.WithKind("MutatingAdmissionPolicy"), p.mutator)
	p.mutatingBindings = match.NewSet(config.World, group.WithKind("MutatingAdmissionPolicyBinding"), mutatingBinding)
	return p
}

// binding puts a policy into effect, for some of what it is about, and gives it parameters.
type binding struct {
	name, policy string
	params       *admissionregistrationv1.ParamRef
	actions      []admissionregistrationv1.ValidationAction
	criteria     *match.Criteria
	// broken is why the criteria cannot be read.
	broken error
}

func validatingBinding(obj registry.Object) *binding {
	o := obj.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)
	b := &binding{name: o.Name, policy: o.Spec.PolicyName, params: o.Spec.ParamRef, actions: o.Spec.ValidationActions}
	b.criteria, b.broken = match.New(o.Spec.MatchResources)
	return b
}

func mutatingBinding(obj registry.Object) *binding {
	o := obj.(*admissionregistrationv1.MutatingAdmissionPolicyBinding)
	b := &binding{name: o.Name, policy: o.Spec.PolicyName, params: o.Spec.ParamRef}
	b.criteria, b.broken = match.New(o.Spec.MatchResources)
	return b
}

// matches reports whether the binding is about a write.
func (b *binding) matches(ctx context.Context, a *admission.Attributes, w match.World) (bool, error) {
	if b.broken != nil {
		return false, b.broken
	}
	_, ok, err := b.criteria.Match(ctx, a, w)
	return ok, err
}

// subject is a write as the policies see it: what is made of it is made once.
type subject struct {
	*admission.Attributes
	plugin *Plugin
	views  *match.Views
	inputs map[*registry.Kind]*expression.Input
	// namespace is that of the object, known is set when it has been read.
	namespace *corev1.Namespace
	known     bool
}

func (p *Plugin) subject(a *admission.Attributes) *subject {
	return &subject{Attributes: a, plugin: p, views: match.NewViews(a), inputs: map[*registry.Kind]*expression.Input{}}
}

// input returns the write in a version, for expressions that judge.
func (s *subject) input(k *registry.Kind) (*expression.Input, error) {
	if in := s.inputs[k]; in != nil {
		return in, nil
	}
	view, err := s.views.Of(k)
	if err != nil {
		return nil, err
	}
	in, err := expression.NewInput(view, false)
	if err != nil {
		return nil, err
	}
	s.inputs[k] = in
	return in, nil
}

// namespaceObject returns the namespace of the object; nil for what is in none, a Namespace among that.
func (s *subject) namespaceObject(ctx context.Context) (*corev1.Namespace, error) {
	if s.known || s.Namespace == "" || s.Kind.Group == "" && s.Kind.Kind == "Namespace" {
		return s.namespace, nil
	}
	ns, err := s.plugin.config.World.Namespace(ctx, s.Namespace)
	if err != nil {
		return nil, err
	}
	s.namespace, s.known = ns, true
	return ns, nil
}

// ignores reports whether what goes wrong with a policy lets the write pass.
func ignores(f *admissionregistrationv1.FailurePolicyType) bool {
	return f != nil && *f == admissionregistrationv1.Ignore
}

// forbidden is the refusal of a write, in Kubernetes' form.
func forbidden(a *admission.Attributes, text string) *apierrors.StatusError {
	name := a.Name
	if name == "" && a.Object != nil && a.Object.GetGenerateName() != "" {
		name = a.Object.GetGenerateName() + "..."
	}
	err := apierrors.NewForbidden(a.GroupResource(), name, fmt.Errorf("%s", text))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: text})
	return err
}
