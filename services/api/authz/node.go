package authz

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const nodeLeases = corev1.NamespaceNodeLease

// nodeRule lets a node use verbs on a resource, if check, where there is one, agrees.
type nodeRule struct {
	verbs string
	check func(ctx context.Context, a *Authorizer, node string, attrs *Attributes) (bool, error)
}

type nodeTarget struct{ group, resource, subresource string }

// nodeRules is what a node may do. Objects are reached by name only, through the pods that are bound to the node; the
// contents of what a node writes are checked by RestrictNode.
var nodeRules = map[nodeTarget]nodeRule{
	{"", "nodes", ""}:                                         {"get list watch create update patch", ownName},
	{"", "nodes", "status"}:                                   {"get update patch", ownName},
	{"coordination.k8s.io", "leases", ""}:                     {"get create update patch delete", ownLease},
	{"", "pods", ""}:                                          {"get list watch create delete", ownPods},
	{"", "pods", "status"}:                                    {"get update patch", ownPods},
	{"", "pods", "eviction"}:                                  {"create", ownPods},
	{"", "secrets", ""}:                                       {"get list watch", used(usesSecret)},
	{"", "configmaps", ""}:                                    {"get list watch", used(usesConfigMap)},
	{"", "persistentvolumeclaims", ""}:                        {"get", used(usesClaim)},
	{"resource.k8s.io", "resourceclaims", ""}:                 {"get", used(usesResourceClaim)},
	{"", "serviceaccounts", ""}:                               {"get", used(usesServiceAccount)},
	{"", "serviceaccounts", "token"}:                          {"create", used(usesServiceAccount)},
	{"", "services", ""}:                                      {"get list watch", nil},
	{"discovery.k8s.io", "endpointslices", ""}:                {"get list watch", nil},
	{"", "events", ""}:                                        {"create update patch", nil},
	{"events.k8s.io", "events", ""}:                           {"create update patch", nil},
	{"node.k8s.io", "runtimeclasses", ""}:                     {"get list watch", nil},
	{"storage.k8s.io", "csidrivers", ""}:                      {"get list watch", nil},
	{"storage.k8s.io", "csinodes", ""}:                        {"get create update patch delete", ownName},
	{"authentication.k8s.io", "tokenreviews", ""}:             {"create", nil},
	{"authorization.k8s.io", "subjectaccessreviews", ""}:      {"create", nil},
	{"authorization.k8s.io", "localsubjectaccessreviews", ""}: {"create", nil},
	{"certificates.k8s.io", "certificatesigningrequests", ""}: {"create get list watch", nil},
	{"certificates.k8s.io", "podcertificaterequests", ""}:     {"create get", nil},
	{"certificates.k8s.io", "clustertrustbundles", ""}:        {"get list watch", nil},
}

// authorizeNode decides what a node's agents may do beyond what RBAC gives them.
func (a *Authorizer) authorizeNode(ctx context.Context, node string, attrs *Attributes) (bool, string, error) {
	rule, ok := nodeRules[nodeTarget{attrs.Group, attrs.Resource, attrs.Subresource}]
	if !ok || attrs.Path != "" || !hasWord(rule.verbs, attrs.Verb) {
		return false, "", nil
	}
	if rule.check == nil {
		return true, "", nil
	}
	allowed, err := rule.check(ctx, a, node, attrs)
	if err != nil {
		return false, "", fmt.Errorf("authorize node %s: %w", node, err)
	}
	if !allowed {
		return false, fmt.Sprintf("no relationship found between node '%s' and this object", node), nil
	}
	return true, "", nil
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, " ") {
		if w == word {
			return true
		}
	}
	return false
}

// ownName: the object is called like the node. A create names its object in the body, which RestrictNode reads.
func ownName(_ context.Context, _ *Authorizer, node string, attrs *Attributes) (bool, error) {
	switch attrs.Verb {
	case "create":
		return attrs.Name == "" || attrs.Name == node, nil
	case "list", "watch":
		return attrs.Name == node || selects(attrs.FieldSelector, "metadata.name", node), nil
	}
	return attrs.Name == node, nil
}

func ownLease(_ context.Context, _ *Authorizer, node string, attrs *Attributes) (bool, error) {
	if attrs.Namespace != nodeLeases {
		return false, nil
	}
	return attrs.Name == node || attrs.Verb == "create" && attrs.Name == "", nil
}

func ownPods(ctx context.Context, a *Authorizer, node string, attrs *Attributes) (bool, error) {
	switch attrs.Verb {
	case "list", "watch":
		return selects(attrs.FieldSelector, "spec.nodeName", node), nil
	case "create":
		if attrs.Subresource == "" {
			return true, nil
		}
	}
	if a.pods == nil || attrs.Name == "" {
		return false, nil
	}
	pod, err := a.pods.Pod(ctx, attrs.Namespace, attrs.Name)
	if err != nil || pod == nil {
		return false, err
	}
	return pod.Spec.NodeName == node, nil
}

// selects reports whether a field selector demands that field has value.
func selects(selector, field, value string) bool {
	for term := range strings.SplitSeq(selector, ",") {
		name, rest, ok := strings.Cut(term, "=")
		if ok && name == field && strings.TrimPrefix(rest, "=") == value {
			return true
		}
	}
	return false
}

// used allows an object that a pod of the node uses.
func used(by func(pod *corev1.Pod, name string) bool) func(context.Context, *Authorizer, string, *Attributes) (bool, error) {
	return func(ctx context.Context, a *Authorizer, node string, attrs *Attributes) (bool, error) {
		name := attrs.Name
		if name == "" {
			name, _ = selectedName(attrs.FieldSelector)
		}
		if a.pods == nil || name == "" || attrs.Namespace == "" {
			return false, nil
		}
		pods, err := a.pods.PodsOnNode(ctx, node)
		if err != nil {
			return false, err
		}
		for _, pod := range pods {
			if pod.Namespace == attrs.Namespace && by(pod, name) {
				return true, nil
			}
		}
		return false, nil
	}
}

func selectedName(selector string) (string, bool) {
	name, ok := strings.CutPrefix(selector, "metadata.name=")
	return strings.TrimPrefix(name, "="), ok && !strings.Contains(name, ",")
}
