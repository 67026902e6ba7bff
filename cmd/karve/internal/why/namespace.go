package why

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func aboutNamespace(w *World, s Subject) ([]Finding, bool) {
	ns := find(w.Namespaces, s)
	if ns == nil {
		return nil, false
	}
	if ns.DeletionTimestamp == nil {
		return []Finding{{Cause: "nothing is wrong with it; of what is in it tells: karve why -n " + ns.Name}}, true
	}
	f := Finding{Severity: Note, Cause: "it is terminating: what is in it is being deleted", Because: []string{"deleted " + w.since(*ns.DeletionTimestamp) + " ago"}}
	for _, c := range ns.Status.Conditions {
		if c.Status == corev1.ConditionTrue && strings.HasPrefix(string(c.Type), "Namespace") {
			f.Because = append(f.Because, c.Message)
			if c.Type == corev1.NamespaceFinalizersRemaining || c.Type == corev1.NamespaceDeletionDiscoveryFailure || c.Type == corev1.NamespaceDeletionContentFailure {
				f.Severity, f.Cause = Stuck, "it is terminating, and something holds it up"
			}
		}
	}
	if f.Severity == Stuck {
		f.Do = []string{"karve why -n " + ns.Name + "   # which objects have finalizers, and who removes those", "kubectl get apiservices   # are all Available?"}
	}
	return []Finding{f}, true
}
