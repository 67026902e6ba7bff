package namespace

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/lifecycle/inventory"
)

// next returns the kinds whose objects are to be deleted now, given what a namespace holds. Pods go first: what they
// use (secrets, service accounts, network policies) stays until they have ended.
func next(content map[*inventory.Kind]int) []*inventory.Kind {
	var out []*inventory.Kind
	for k, n := range content {
		if n == 0 || !k.Delete && !k.DeleteCollection {
			continue
		}
		if k.Group == "" && k.Resource == "pods" {
			return []*inventory.Kind{k}
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b *inventory.Kind) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Resource, b.Resource))
	})
	return out
}

// remains is what still is in a namespace, for its conditions.
type remains struct {
	content    map[string]int
	finalizers map[string]int
	// failures are what went wrong with deleting.
	failures []string
}

// resourceName is "pods." or "deployments.apps", as Kubernetes writes it in conditions.
func resourceName(k *inventory.Kind) string { return k.Resource + "." + k.Group }

// setConditions says in a namespace's status what its deletion waits for; it tells whether that is news.
func setConditions(status *corev1.NamespaceStatus, r remains, now metav1.Time) (changed bool) {
	for _, c := range []corev1.NamespaceCondition{
		{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse, Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"},
		{Type: corev1.NamespaceDeletionGVParsingFailure, Status: corev1.ConditionFalse, Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
		condition(corev1.NamespaceDeletionContentFailure, len(r.failures) > 0, "ContentDeletionFailed", strings.Join(r.failures, "; "), "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
		condition(corev1.NamespaceContentRemaining, len(r.content) > 0, "SomeResourcesRemain", "Some resources are remaining: "+list(r.content, "%s has %d resource instances"), "ContentRemoved", "All content successfully removed"),
		condition(corev1.NamespaceFinalizersRemaining, len(r.finalizers) > 0, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+list(r.finalizers, "%s in %d resource instances"), "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
	} {
		changed = setCondition(status, c, now) || changed
	}
	return changed
}

func condition(kind corev1.NamespaceConditionType, bad bool, badReason, badMessage, goodReason, goodMessage string) corev1.NamespaceCondition {
	if bad {
		return corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionTrue, Reason: badReason, Message: badMessage}
	}
	return corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: goodReason, Message: goodMessage}
}

func setCondition(status *corev1.NamespaceStatus, c corev1.NamespaceCondition, now metav1.Time) bool {
	c.LastTransitionTime = now
	for i := range status.Conditions {
		have := &status.Conditions[i]
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status && have.Reason == c.Reason && have.Message == c.Message {
			return false
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
		return true
	}
	status.Conditions = append(status.Conditions, c)
	return true
}

func list(counts map[string]int, format string) string {
	var out []string
	for name, n := range counts {
		out = append(out, fmt.Sprintf(format, name, n))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
