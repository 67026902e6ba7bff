// Package admission completes and refuses writes by what else is in the cluster: the steps between defaulting and
// validation. Default lists every plugin, in the order in which they run.
package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/registry"
)

// Operation is what a write does.
type Operation uint8

// The operations.
const (
	Create Operation = iota + 1
	Update
	Delete
	Connect
)

// String is what the operation is called in rules and reviews.
func (o Operation) String() string {
	return [...]string{Create: "CREATE", Update: "UPDATE", Delete: "DELETE", Connect: "CONNECT"}[o]
}

// Attributes describe one write. A plugin may change Object, and nothing else.
type Attributes struct {
	Operation   Operation
	Kind        *registry.Kind
	Subresource string
	Namespace   string
	Name        string
	// Object is what is to be stored; nil on Delete. Of a subresource that has a form of its own (an eviction, a scale) it
	// is in that form: Part is its kind then, else empty.
	Object registry.Object
	Part   schema.GroupVersionKind
	// Old is what is stored; nil on Create.
	Old    registry.Object
	User   identity.User
	DryRun bool
	// Settled: the users' webhooks and policies have been asked about what led to this write.
	Settled bool
	// Options returns the options of the call in Kubernetes' form; nil function: there are none.
	Options func() runtime.Object
	// Warn tells the client something, Annotate the audit log; both may be nil.
	Warn     func(text string)
	Annotate func(key, value string)

	round Round
	// namespace and account are what the write is about besides, once somebody has read them.
	namespace *corev1.Namespace
	account   *corev1.ServiceAccount
}

// Round tells the mutating plugins that they are asked a second time, because one of them changed what the others had
// seen, and keeps for them what they remember of the first time.
type Round struct {
	// Second is set then; Again makes it happen.
	Second, Again bool
	// Changed is set when anybody but the built-in plugins has changed the object.
	Changed bool
	memory  map[any]any
}

// Remembered returns what the plugin has remembered under key; nil for nothing.
func (r *Round) Remembered(key any) any { return r.memory[key] }

// Remember keeps something until the write is done.
func (r *Round) Remember(key, value any) {
	if r.memory == nil {
		r.memory = map[any]any{}
	}
	r.memory[key] = value
}

// Round is the state of the mutating plugins.
func (a *Attributes) Round() *Round { return &a.round }

// Warning tells the client something.
func (a *Attributes) Warning(text string) {
	if a.Warn != nil {
		a.Warn(text)
	}
}

// Annotation tells the audit log something.
func (a *Attributes) Annotation(key, value string) {
	if a.Annotate != nil {
		a.Annotate(key, value)
	}
}

// Is reports whether the write is of the kind itself, not of a subresource.
func (a *Attributes) Is(group, kind string) bool {
	return a.Subresource == "" && a.Kind.Kind == kind && a.Kind.Group == group
}

// GroupResource names the kind in errors.
func (a *Attributes) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: a.Kind.Group, Resource: a.Kind.Resource}
}

// Reader reads other objects: recent ones, and never too old to find what an earlier call of the same client created.
type Reader interface {
	// Read returns an object, which belongs to the caller; a NotFound StatusError when there is none.
	Read(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (registry.Object, error)
	// ReadAll returns every object of a namespace, or of all.
	ReadAll(ctx context.Context, gvk schema.GroupVersionKind, namespace string) ([]registry.Object, error)
}

// Plugin takes part in writes. Admit completes the object; it runs before validation.
type Plugin interface {
	Admit(ctx context.Context, a *Attributes) error
}

// Validator is a Plugin that looks once more at the finished object, after validation.
type Validator interface {
	Plugin
	Validate(ctx context.Context, a *Attributes) error
}

// Chain is plugins in order.
type Chain []Plugin

// Admit runs every plugin's Admit until one refuses; twice, when one that is not built in has changed the object: the
// others then see what became of it.
func (c Chain) Admit(ctx context.Context, a *Attributes) error {
	if err := c.admit(ctx, a); err != nil || !a.round.Again {
		return err
	}
	a.round.Second = true
	return c.admit(ctx, a)
}

func (c Chain) admit(ctx context.Context, a *Attributes) error {
	for _, p := range c {
		if err := p.Admit(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Validate runs the validating plugins until one refuses.
func (c Chain) Validate(ctx context.Context, a *Attributes) error {
	for _, p := range c {
		if v, ok := p.(Validator); ok {
			if err := v.Validate(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// Default returns the plugins of a cluster, in Kubernetes' order. More are those that need more than a Reader, and what
// the cluster's users have set up (policies, then webhooks), which has its say on what the built-in plugins have
// completed. Quotas come last of all: they are charged with the commit.
func Default(r Reader, more ...Plugin) Chain {
	return append(Chain{
		namespaceLifecycle{r},
		limitRanges{r},
		serviceAccount{r},
		taintNewNodes{},
		podSecurity{r},
		priority{r},
		defaultTolerations{},
		defaultClasses{r},
		inUseProtection{},
		claimGrowth{r},
		runtimeClass{r},
		requester{},
		topologyLabels{r},
		podResize{r},
	}, more...)
}
