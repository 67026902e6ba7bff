// Package authz decides who may do what: Kubernetes' RBAC over a compiled index, the rules for nodes, and the roles
// that a cluster starts with.
package authz

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/registry"
)

// Attributes describe one request.
type Attributes struct {
	User identity.User
	// Verb is get, list, watch, create, update, patch, delete, deletecollection or one of the special ones
	// (impersonate, bind, escalate, …); for a Path the lower-case HTTP method.
	Verb        string
	Group       string
	Version     string
	Resource    string
	Subresource string
	Namespace   string
	Name        string
	// Path is set for requests that name no resource ("/version"); the fields above but User and Verb are then empty.
	Path string
	// FieldSelector narrows list, watch and deletecollection; nodes may list pods only with spec.nodeName.
	FieldSelector string
}

// Pods is what the rules for nodes read. Answers are shared: they are not changed.
type Pods interface {
	// Pod returns a pod, nil when there is none.
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	// PodsOnNode returns the pods bound to a node.
	PodsOnNode(ctx context.Context, node string) ([]*corev1.Pod, error)
}

// Config of an Authorizer.
type Config struct {
	// Pods is needed for nodes; nil refuses what depends on it.
	Pods Pods
	// Kinds finds a kind that is served, for owner references; nil finds none.
	Kinds func(schema.GroupVersionKind) (*registry.Kind, bool)
	// Issuer is the audience of tokens that are for no other; nil: there is none.
	Issuer func() string
}

// Authorizer decides requests. Feed it with Update and Remove; it is safe for concurrent use.
type Authorizer struct {
	pods  Pods
	kinds func(schema.GroupVersionKind) (*registry.Kind, bool)
	// issuer may be nil.
	issuer func() string

	mu    sync.RWMutex
	index *index
}

// New returns an Authorizer that knows no roles yet: it allows only system:masters and what nodes may do.
func New(config Config) *Authorizer {
	return &Authorizer{pods: config.Pods, kinds: config.Kinds, issuer: config.Issuer, index: newIndex()}
}

// Authorize decides one request; reason explains a refusal or a grant, and may be empty. An error means that the
// decision could not be made; allowed is then false.
func (a *Authorizer) Authorize(ctx context.Context, attrs Attributes) (allowed bool, reason string, err error) {
	if slices.Contains(attrs.User.Groups, identity.GroupMasters) {
		return true, "", nil
	}
	if node, ok := identity.NodeName(attrs.User); ok {
		// A copy for the rules to point at: the parameter itself then stays off the heap.
		own := attrs
		allowed, reason, err = a.authorizeNode(ctx, node, &own)
		if allowed {
			return true, "", nil
		}
	}
	a.mu.RLock()
	granted, missing := a.index.allows(&attrs), ""
	if !granted {
		missing = a.index.missing(&attrs)
	}
	a.mu.RUnlock()
	if granted {
		return true, "", nil
	}
	return false, refusal(reason, missing), err
}
