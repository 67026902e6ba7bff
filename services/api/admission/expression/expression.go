// Package expression is what webhooks and policies share of CEL: the variables that Kubernetes' expressions have (object,
// oldObject, request, params, namespaceObject, authorizer, variables), how they are compiled, and what they may cost. It
// is Kubernetes' own code that does it; this package shows it Karve's writes.
//
// Nothing is made before the first expression is needed.
package expression

import (
	"sync"

	celgo "github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/match"
)

// Compiler compiles expressions. It is safe for concurrent use.
type Compiler struct {
	base func() *environment.EnvSet
	// plain compiles whatever has no variables of its own. An environment takes some 100 KiB, and everything that was
	// compiled in it keeps it.
	plain func() (*cel.CompositedCompiler, error)
}

// NewCompiler returns a Compiler; it costs nothing until it is used.
func NewCompiler() *Compiler {
	c := &Compiler{base: sync.OnceValue(func() *environment.EnvSet {
		return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	})}
	c.plain = sync.OnceValues(func() (*cel.CompositedCompiler, error) { return cel.NewCompositedCompiler(c.base()) })
	return c
}

// Base is the environment of all, without variables.
func (c *Compiler) Base() *environment.EnvSet { return c.base() }

// For returns a compiler for expressions that share so many variables of their own; these are compiled with it first.
func (c *Compiler) For(variables int) (*cel.CompositedCompiler, error) {
	if variables == 0 {
		return c.plain()
	}
	return cel.NewCompositedCompiler(c.base())
}

// Accessor is one expression with what it may evaluate to.
type Accessor struct {
	Name, Expression string
	Types            []*celgo.Type
}

var _ cel.NamedExpressionAccessor = (*Accessor)(nil)

// GetName implements cel.NamedExpressionAccessor.
func (a *Accessor) GetName() string { return a.Name }

// GetExpression implements cel.ExpressionAccessor.
func (a *Accessor) GetExpression() string { return a.Expression }

// ReturnTypes implements cel.ExpressionAccessor.
func (a *Accessor) ReturnTypes() []*celgo.Type { return a.Types }

// Input is one write as expressions see it. It is for one goroutine: values are converted when they are first asked for.
type Input struct {
	Attributes *upstream.VersionedAttributes
	Request    *admissionv1.AdmissionRequest
	// Resource is what the write is about in the version in which it is shown.
	Resource schema.GroupVersionResource
}

// NewInput returns the input that a view makes. With plain, objects are maps all through, as what changes them needs.
func NewInput(v *match.View, plain bool) (*Input, error) {
	a, gvk := v.Write, v.GVK()
	object, old := match.Plain(v.Object, gvk), match.Plain(v.Old, gvk)
	if plain {
		var err error
		if object, err = asMap(object); err != nil {
			return nil, err
		}
		if old, err = asMap(old); err != nil {
			return nil, err
		}
	}
	var options runtime.Object
	if a.Options != nil {
		options = a.Options()
	}
	asked := a.Part
	if asked.Empty() {
		asked = a.Kind.GroupVersionKind
	}
	record := upstream.NewAttributesRecord(object, old, asked, namespaceOf(a), a.Name, a.Kind.GroupVersion().WithResource(a.Kind.Resource),
		a.Subresource, upstream.Operation(a.Operation.String()), options, a.DryRun, userInfo(a))
	attributes := &upstream.VersionedAttributes{Attributes: record, VersionedKind: gvk}
	if object != nil {
		attributes.VersionedObject.Set(object)
	}
	if old != nil {
		attributes.VersionedOldObject.Set(old)
	}
	in := &Input{Attributes: attributes, Resource: v.Kind.GroupVersion().WithResource(v.Kind.Resource)}
	in.Request = cel.CreateAdmissionRequest(record, metav1.GroupVersionResource(in.Resource), metav1.GroupVersionKind(gvk))
	return in, nil
}

func asMap(obj runtime.Object) (runtime.Object, error) {
	if obj == nil {
		return nil, nil
	}
	return upstream.ConvertObjectToUnstructured(obj)
}

// namespaceOf: a Namespace counts as in itself.
func namespaceOf(a *admission.Attributes) string {
	if a.Kind.Group == corev1.GroupName && a.Kind.Kind == "Namespace" {
		return a.Name
	}
	return a.Namespace
}

func userInfo(a *admission.Attributes) user.Info {
	return &user.DefaultInfo{Name: a.User.Name, UID: a.User.UID, Groups: a.User.Groups, Extra: a.User.Extra}
}
