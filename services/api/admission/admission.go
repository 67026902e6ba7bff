// Package admission completes and refuses writes by what else is in the cluster: the steps between defaulting and
// validation. Default lists every plugin, in the order in which they run.
package admission

import (
	"context"

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
)

// Attributes describe one write. A plugin may change Object, and nothing else.
type Attributes struct {
	Operation   Operation
	Kind        *registry.Kind
	Subresource string
	Namespace   string
	Name        string
	// Object is what is to be stored; nil on Delete.
	Object registry.Object
	// Old is what is stored; nil on Create.
	Old    registry.Object
	User   identity.User
	DryRun bool
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

// Admit runs every plugin's Admit until one refuses.
func (c Chain) Admit(ctx context.Context, a *Attributes) error {
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

// Default returns the plugins of a cluster.
func Default(r Reader) Chain {
	return Chain{
		namespaceLifecycle{r},
		taintNewNodes{},
		serviceAccount{r},
		defaultTolerations{},
		priority{r},
		requester{},
	}
}
