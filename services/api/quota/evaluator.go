package quota

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"

	"karve.dev/karve/services/api/registry"
)

// evaluator measures the objects of one kind. Its functions are pure.
type evaluator struct {
	resource schema.GroupResource
	// counts reports whether a resource of quotas is about this kind.
	counts func(name corev1.ResourceName) bool
	// usage is what an object takes of the resources that count; nil: one of each.
	usage func(obj registry.Object, now time.Time) corev1.ResourceList
	// changes reports whether an update may change the usage; nil: none does.
	changes func(subresource string, obj, old registry.Object) bool
	// inScope reports whether an object is in a scope; nil: none is.
	inScope func(scope corev1.ScopedResourceSelectorRequirement, obj registry.Object) bool
	// demand says what an object must say of itself to be measured by the resources; nil: nothing.
	demand func(names []corev1.ResourceName, obj registry.Object) error
	// trait tells what else of an object decides about its scopes and may change; nil: nothing.
	trait func(obj registry.Object) string
	// until is when the usage changes without a write; zero: never. Nil: never for any.
	until func(obj registry.Object, now time.Time) time.Time
}

// special are the kinds that are measured otherwise than by their number.
var special = []*evaluator{pods, services, claims, deviceClaims}

// ignored are kinds whose objects are not quotaed.
var ignored = map[schema.GroupResource]bool{
	{Resource: "events"}: true, {Group: "events.k8s.io", Resource: "events"}: true,
}

// plainNames are kinds whose number has a name of its own, besides count/….
var plainNames = map[schema.GroupResource]corev1.ResourceName{
	corev1.Resource("configmaps"):             corev1.ResourceConfigMaps,
	corev1.Resource("secrets"):                corev1.ResourceSecrets,
	corev1.Resource("replicationcontrollers"): corev1.ResourceReplicationControllers,
	corev1.Resource("resourcequotas"):         corev1.ResourceQuotas,
}

const countPrefix = "count/"

func countName(gr schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName(countPrefix + gr.String())
}

// evaluatorOf returns how the objects of a kind are measured.
func evaluatorOf(gr schema.GroupResource) *evaluator {
	for _, ev := range special {
		if ev.resource == gr {
			return ev
		}
	}
	byCount, byName := countName(gr), plainNames[gr]
	return &evaluator{resource: gr, counts: func(name corev1.ResourceName) bool {
		return name == byCount || name == byName
	}}
}

// evaluatorsFor returns how the kinds are measured that a quota's resources are about.
func evaluatorsFor(hard corev1.ResourceList) []*evaluator {
	found := map[schema.GroupResource]*evaluator{}
	for name := range hard {
		for _, ev := range special {
			if ev.counts(name) {
				found[ev.resource] = ev
			}
		}
		if gr, ok := plainResource(name); ok && found[gr] == nil && !ignored[gr] {
			found[gr] = evaluatorOf(gr)
		}
	}
	out := make([]*evaluator, 0, len(found))
	for _, ev := range found {
		out = append(out, ev)
	}
	return out
}

// plainResource is the kind whose number a resource limits.
func plainResource(name corev1.ResourceName) (schema.GroupResource, bool) {
	if counted, ok := strings.CutPrefix(string(name), countPrefix); ok {
		return schema.ParseGroupResource(counted), true
	}
	for gr, own := range plainNames {
		if own == name {
			return gr, true
		}
	}
	return schema.GroupResource{}, false
}

// counted returns the resources of hard that are about the kind.
func (ev *evaluator) counted(hard corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for name := range hard {
		if ev.counts(name) {
			out = append(out, name)
		}
	}
	return out
}

// use is what an object takes of the named resources.
func (ev *evaluator) use(names []corev1.ResourceName, obj registry.Object, now time.Time) corev1.ResourceList {
	out := corev1.ResourceList{}
	if ev.usage == nil {
		for _, name := range names {
			out[name] = one()
		}
		return out
	}
	all := ev.usage(obj, now)
	for _, name := range names {
		if q, ok := all[name]; ok {
			out[name] = q
		}
	}
	return out
}

// matches reports whether an object is in all the scopes of a quota.
func (ev *evaluator) matches(q *corev1.ResourceQuota, obj registry.Object) bool {
	for _, s := range scopesOf(q) {
		if ev.inScope == nil || !ev.inScope(s, obj) {
			return false
		}
	}
	return true
}

func scopesOf(q *corev1.ResourceQuota) []corev1.ScopedResourceSelectorRequirement {
	var out []corev1.ScopedResourceSelectorRequirement
	for _, s := range q.Spec.Scopes {
		out = append(out, corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists})
	}
	if q.Spec.ScopeSelector != nil {
		out = append(out, q.Spec.ScopeSelector.MatchExpressions...)
	}
	return out
}

var selectionOf = map[corev1.ScopeSelectorOperator]selection.Operator{
	corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
	corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
}

// selects reports whether a scope's expression holds of one of the values, or of none at all when there are none.
func selects(s corev1.ScopedResourceSelectorRequirement, values ...string) bool {
	if s.Operator == corev1.ScopeSelectorOpExists {
		return len(values) > 0
	}
	requirement, err := labels.NewRequirement(string(s.ScopeName), selectionOf[s.Operator], s.Values)
	if err != nil {
		return false
	}
	if len(values) == 0 {
		return requirement.Matches(labels.Set{})
	}
	for _, v := range values {
		if requirement.Matches(labels.Set{string(s.ScopeName): v}) {
			return true
		}
	}
	return false
}
