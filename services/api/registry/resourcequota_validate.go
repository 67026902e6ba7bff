package registry

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
	"karve.dev/karve/services/api/registry/podspec"
)

func validateResourceQuota(q *corev1.ResourceQuota) field.ErrorList {
	var e check.Errors
	spec := field.NewPath("spec")
	validateQuotaResources(&e, spec.Child("hard"), q.Spec.Hard)
	scopes := spec.Child("scopes")
	for _, s := range q.Spec.Scopes {
		e.If(!isQuotaScope(s), scopes, q.Spec.Scopes, "unsupported scope")
		for range unscopable(s, q.Spec.Hard) {
			e.Invalid(scopes, q.Spec.Scopes, "unsupported scope applied to resource")
		}
	}
	for range conflictingScopes(q.Spec.Scopes) {
		e.Invalid(scopes, q.Spec.Scopes, "conflicting scopes")
	}
	if q.Spec.ScopeSelector != nil {
		validateScopeSelector(&e, spec.Child("scopeSelector", "matchExpressions"), &q.Spec)
	}
	return e.List()
}

func validateResourceQuotaUpdate(q, old *corev1.ResourceQuota) field.ErrorList {
	var e check.Errors
	now, was := slices.Clone(q.Spec.Scopes), slices.Clone(old.Spec.Scopes)
	slices.Sort(now)
	slices.Sort(was)
	e.If(!slices.Equal(slices.Compact(now), slices.Compact(was)), field.NewPath("spec", "scopes"), q.Spec.Scopes, "field is immutable")
	return e.List()
}

func validateResourceQuotaStatus(q, _ *corev1.ResourceQuota) field.ErrorList {
	var e check.Errors
	status := field.NewPath("status")
	validateQuotaResources(&e, status.Child("hard"), q.Status.Hard)
	validateQuotaResources(&e, status.Child("used"), q.Status.Used)
	return e.List()
}

func validateQuotaResources(e *check.Errors, p *field.Path, list corev1.ResourceList) {
	for _, name := range sorted(list) {
		at := p.Key(string(name))
		// Counts of objects of any kind are named count/<plural>.<group>.
		if strings.HasPrefix(string(name), "count/") {
			e.Qualified(at, string(name))
			podspec.CheckQuantity(e, at, corev1.ResourcePods, list[name])
			continue
		}
		podspec.CheckResource(e, at, name, list[name])
		e.If(!strings.Contains(string(name), "/") && !isQuotaResource(name), at, name, "must be a standard resource for quota")
	}
}

// Resources of pods and claims, which alone have scopes, and the others that quotas know by a short name.
var (
	quotaPodResources = []corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
	}
	quotaClaimResources = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
	quotaOtherResources = []corev1.ResourceName{
		corev1.ResourceEphemeralStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage,
		corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets, corev1.ResourceConfigMaps,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
	}
)

func isQuotaResource(name corev1.ResourceName) bool {
	return slices.Contains(quotaPodResources, name) || slices.Contains(quotaClaimResources, name) || slices.Contains(quotaOtherResources, name) ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

func isQuotaScope(s corev1.ResourceQuotaScope) bool {
	return slices.Contains(podScopes, s) || s == corev1.ResourceQuotaScopeBestEffort || s == corev1.ResourceQuotaScopeVolumeAttributesClass
}

// podScopes are those in which everything of pods can be limited.
var podScopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
	corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
}

// unscopable returns the resources that a scope says nothing about.
func unscopable(s corev1.ResourceQuotaScope, hard corev1.ResourceList) (out []corev1.ResourceName) {
	var fit []corev1.ResourceName
	switch {
	case slices.Contains(podScopes, s):
		fit = quotaPodResources
	case s == corev1.ResourceQuotaScopeBestEffort:
		fit = []corev1.ResourceName{corev1.ResourcePods}
	case s == corev1.ResourceQuotaScopeVolumeAttributesClass:
		fit = quotaClaimResources
	default:
		return nil
	}
	for _, name := range sorted(hard) {
		if isQuotaResource(name) && !slices.Contains(fit, name) {
			out = append(out, name)
		}
	}
	return out
}

func conflictingScopes(scopes []corev1.ResourceQuotaScope) (out [][2]corev1.ResourceQuotaScope) {
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			out = append(out, pair)
		}
	}
	return out
}

func validateScopeSelector(e *check.Errors, p *field.Path, spec *corev1.ResourceQuotaSpec) {
	var scopes []corev1.ResourceQuotaScope
	for _, r := range spec.ScopeSelector.MatchExpressions {
		scopes = append(scopes, r.ScopeName)
		e.If(!isQuotaScope(r.ScopeName), p.Child("scopeName"), r.ScopeName, "unsupported scope")
		for range unscopable(r.ScopeName, spec.Hard) {
			e.Invalid(p, spec.ScopeSelector, "unsupported scope applied to resource")
		}
		valued := r.ScopeName == corev1.ResourceQuotaScopePriorityClass || r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass
		e.If(isQuotaScope(r.ScopeName) && !valued && r.Operator != corev1.ScopeSelectorOpExists, p.Child("operator"), r.Operator,
			"must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "+
				"ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
		switch r.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				e.Required(p.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			e.If(len(r.Values) > 0, p.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
		default:
			e.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
		}
	}
	for range conflictingScopes(scopes) {
		e.Invalid(p, spec.Scopes, "conflicting scopes")
	}
}
