// Package match decides which writes a webhook or a policy is about: by what they do to what, and by the labels of the
// object and of its namespace.
package match

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/registry"
)

// World is what has to be known besides the write.
type World interface {
	Source
	// Read returns an object; a NotFound StatusError when there is none, or no such kind.
	Read(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (registry.Object, error)
	// Kind returns how a kind is served.
	Kind(gvk schema.GroupVersionKind) (*registry.Kind, bool)
	// Namespace returns a namespace, which is shared; a NotFound StatusError when there is none.
	Namespace(ctx context.Context, name string) (*corev1.Namespace, error)
	// KindOf returns the kind of a resource.
	KindOf(gvr schema.GroupVersionResource) (*registry.Kind, bool)
	// Equivalents returns the kinds by which the same objects are served, k itself among them.
	Equivalents(k *registry.Kind) []*registry.Kind
}

// Criteria are what a write is matched by; nil selectors select everything.
type Criteria struct {
	// Rules are what is wanted: one is enough. None want everything.
	Rules, Exclude []admissionregistrationv1.NamedRuleWithOperations
	// Exact wants the version that the rule names, not one that is equivalent to it.
	Exact               bool
	Namespaces, Objects labels.Selector
}

// New returns the criteria of a policy or of a binding; nil want everything.
func New(m *admissionregistrationv1.MatchResources) (*Criteria, error) {
	if m == nil {
		return &Criteria{}, nil
	}
	c := &Criteria{Rules: m.ResourceRules, Exclude: m.ExcludeResourceRules}
	return c, c.complete(m.MatchPolicy, m.NamespaceSelector, m.ObjectSelector)
}

// ForWebhook returns the criteria of a webhook, which has rules in any case.
func ForWebhook(rules []admissionregistrationv1.RuleWithOperations, policy *admissionregistrationv1.MatchPolicyType, namespaces, objects *metav1.LabelSelector) (*Criteria, error) {
	c := &Criteria{Rules: make([]admissionregistrationv1.NamedRuleWithOperations, len(rules))}
	for i := range rules {
		c.Rules[i].RuleWithOperations = rules[i]
	}
	if len(rules) == 0 {
		c.Exclude = everything
	}
	return c, c.complete(policy, namespaces, objects)
}

var everything = []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
	Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
	Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
}}}

func (c *Criteria) complete(policy *admissionregistrationv1.MatchPolicyType, namespaces, objects *metav1.LabelSelector) (err error) {
	c.Exact = policy != nil && *policy == admissionregistrationv1.Exact
	if c.Namespaces, err = selector(namespaces); err != nil {
		return fmt.Errorf("namespaceSelector: %w", err)
	}
	if c.Objects, err = selector(objects); err != nil {
		return fmt.Errorf("objectSelector: %w", err)
	}
	return nil
}

func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return nil, nil
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err == nil && out.Empty() {
		out = nil
	}
	return out, err
}

// Match reports whether a write is one of those that are meant, and as what kind it is: with an equivalent version, the
// one that the rule names. The error is about namespaces that cannot be read.
func (c *Criteria) Match(ctx context.Context, a *admission.Attributes, w World) (kind *registry.Kind, ok bool, err error) {
	if _, excluded := c.find(c.Exclude, a, w); excluded {
		return nil, false, nil
	}
	kind = a.Kind
	if len(c.Rules) > 0 {
		if kind, ok = c.find(c.Rules, a, w); !ok {
			return nil, false, nil
		}
	}
	if !c.matchObject(a) {
		return nil, false, nil
	}
	ok, err = c.matchNamespace(ctx, a, w)
	return kind, ok, err
}

// find looks for a rule about the write as it is, then for one about an equivalent of its kind.
func (c *Criteria) find(rules []admissionregistrationv1.NamedRuleWithOperations, a *admission.Attributes, w World) (*registry.Kind, bool) {
	for i := range rules {
		if matches(&rules[i], a, a.Kind) {
			return a.Kind, true
		}
	}
	if c.Exact {
		return nil, false
	}
	var equivalents []*registry.Kind
	for i := range rules {
		// Most rules are about something else altogether.
		if !nearly(&rules[i], a) {
			continue
		}
		if equivalents == nil {
			equivalents = w.Equivalents(a.Kind)
		}
		for _, k := range equivalents {
			if k != a.Kind && matches(&rules[i], a, k) {
				return k, true
			}
		}
	}
	return nil, false
}

// matches reports whether a rule is about the write, if its object were of kind k.
func matches(r *admissionregistrationv1.NamedRuleWithOperations, a *admission.Attributes, k *registry.Kind) bool {
	return wildcard(r.APIGroups, k.Group) && wildcard(r.APIVersions, k.Version) && nearly(r, a)
}

// nearly is matches but for group and version: equivalent kinds are called the same.
func nearly(r *admissionregistrationv1.NamedRuleWithOperations, a *admission.Attributes) bool {
	return resource(r.Resources, a.Kind.Resource, a.Subresource) && operation(r.Operations, a.Operation) && inScope(r.Scope, a) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.Name))
}

// inScope: Namespace objects count as cluster-scoped.
func inScope(scope *admissionregistrationv1.ScopeType, a *admission.Attributes) bool {
	if scope == nil || *scope == admissionregistrationv1.AllScopes {
		return true
	}
	namespaced := a.Namespace != "" && !isNamespace(a.Kind)
	return namespaced == (*scope == admissionregistrationv1.NamespacedScope)
}

func isNamespace(k *registry.Kind) bool { return k.Group == "" && k.Resource == "namespaces" }

func operation(wanted []admissionregistrationv1.OperationType, op admission.Operation) bool {
	for _, w := range wanted {
		if w == admissionregistrationv1.OperationAll || string(w) == op.String() {
			return true
		}
	}
	return false
}

func wildcard(wanted []string, is string) bool {
	return slices.Contains(wanted, "*") || slices.Contains(wanted, is)
}

func resource(wanted []string, is, subresource string) bool {
	for _, w := range wanted {
		res, sub, _ := strings.Cut(w, "/")
		if (res == "*" || res == is) && (sub == "*" || sub == subresource) {
			return true
		}
	}
	return false
}

// matchObject: the object as it is to be or as it was.
func (c *Criteria) matchObject(a *admission.Attributes) bool {
	if c.Objects == nil {
		return true
	}
	for _, obj := range []registry.Object{a.Object, a.Old} {
		if obj != nil && c.Objects.Matches(labels.Set(obj.GetLabels())) {
			return true
		}
	}
	return false
}

// matchNamespace: what is in no namespace is never excluded, and a Namespace is matched by its own labels.
func (c *Criteria) matchNamespace(ctx context.Context, a *admission.Attributes, w World) (bool, error) {
	if c.Namespaces == nil {
		return true, nil
	}
	if isNamespace(a.Kind) {
		obj := a.Object
		if obj == nil {
			obj = a.Old
		}
		return obj == nil || c.Namespaces.Matches(labels.Set(obj.GetLabels())), nil
	}
	if a.Namespace == "" {
		return true, nil
	}
	ns, err := w.Namespace(ctx, a.Namespace)
	if err != nil {
		return false, err
	}
	return c.Namespaces.Matches(labels.Set(ns.Labels)), nil
}

// configurations are the kinds that no webhook and no policy is asked about: who locked himself out could not repair it.
var configurations = map[string]bool{
	"ValidatingWebhookConfiguration": true, "MutatingWebhookConfiguration": true, "ValidatingAdmissionPolicy": true,
	"ValidatingAdmissionPolicyBinding": true, "MutatingAdmissionPolicy": true, "MutatingAdmissionPolicyBinding": true,
}

// reviews are kinds that are questions to the API: they change nothing.
var reviews = map[schema.GroupKind]bool{
	{Group: "authentication.k8s.io", Kind: "TokenReview"}: true, {Group: "authentication.k8s.io", Kind: "SelfSubjectReview"}: true,
	{Group: "authorization.k8s.io", Kind: "SubjectAccessReview"}: true, {Group: "authorization.k8s.io", Kind: "LocalSubjectAccessReview"}: true,
	{Group: "authorization.k8s.io", Kind: "SelfSubjectAccessReview"}: true, {Group: "authorization.k8s.io", Kind: "SelfSubjectRulesReview"}: true,
}

// Concerns reports whether webhooks and policies are asked about a write at all. What the API service does by itself is
// none of their business: one that does not answer must not keep it from starting.
func Concerns(a *admission.Attributes) bool {
	k := a.Kind
	exempt := k.Group == admissionregistrationv1.GroupName && configurations[k.Kind] || reviews[k.GroupKind()]
	return !exempt && !a.Settled && a.User.Name != identity.UserAPI
}
