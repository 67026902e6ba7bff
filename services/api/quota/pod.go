package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	helpers "k8s.io/component-helpers/resource"

	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/registry/podspec"
)

var pods = &evaluator{
	resource: corev1.Resource("pods"),
	counts: func(name corev1.ResourceName) bool {
		return podNames[name] || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) ||
			strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix) || isExtended(name)
	},
	usage: func(obj registry.Object, now time.Time) corev1.ResourceList { return podUsage(obj.(*corev1.Pod), now) },
	changes: func(subresource string, obj, old registry.Object) bool {
		switch subresource {
		case "":
			return hasDeadline(obj.(*corev1.Pod)) != hasDeadline(old.(*corev1.Pod))
		case "resize":
			return true
		}
		return false
	},
	inScope: func(s corev1.ScopedResourceSelectorRequirement, obj registry.Object) bool {
		return podInScope(s, obj.(*corev1.Pod))
	},
	trait: func(obj registry.Object) string {
		pod := obj.(*corev1.Pod)
		return fmt.Sprint(hasDeadline(pod), lostAt(pod))
	},
	demand: func(names []corev1.ResourceName, obj registry.Object) error {
		return podDemand(names, obj.(*corev1.Pod))
	},
	until: func(obj registry.Object, now time.Time) time.Time {
		if end := lostAt(obj.(*corev1.Pod)); end.After(now) {
			return end
		}
		return time.Time{}
	},
}

var podNames = map[corev1.ResourceName]bool{
	"count/pods": true, corev1.ResourcePods: true,
	corev1.ResourceCPU: true, corev1.ResourceMemory: true, corev1.ResourceEphemeralStorage: true,
	corev1.ResourceRequestsCPU: true, corev1.ResourceRequestsMemory: true, corev1.ResourceRequestsEphemeralStorage: true,
	corev1.ResourceLimitsCPU: true, corev1.ResourceLimitsMemory: true, corev1.ResourceLimitsEphemeralStorage: true,
}

// demanded are the resources that every container must name when a quota limits them.
var demanded = map[corev1.ResourceName]bool{
	corev1.ResourceCPU: true, corev1.ResourceMemory: true, corev1.ResourceRequestsCPU: true, corev1.ResourceRequestsMemory: true,
	corev1.ResourceLimitsCPU: true, corev1.ResourceLimitsMemory: true,
}

// isExtended: requests of what a plugin or a driver offers, "requests.example.com/gpu".
func isExtended(name corev1.ResourceName) bool {
	rest, ok := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
	if !ok {
		return false
	}
	return strings.HasPrefix(rest, resourcev1.ResourceDeviceClassPrefix) ||
		strings.Contains(rest, "/") && !strings.Contains(rest, corev1.ResourceDefaultNamespacePrefix)
}

// podUsage: a pod that has come to an end, or that is overdue to be gone, takes no more than its place in the store.
func podUsage(pod *corev1.Pod, now time.Time) corev1.ResourceList {
	if ended(pod) || !lostAt(pod).IsZero() && now.After(lostAt(pod)) {
		return corev1.ResourceList{"count/pods": one()}
	}
	options := helpers.PodResourcesOptions{UseStatusResources: true}
	out := computeUsage(helpers.PodRequests(pod, options), helpers.PodLimits(pod, options))
	out["count/pods"] = one()
	return out
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

// lostAt is when a terminating pod should have been gone for as long again as it was given; zero when it is not
// terminating.
func lostAt(pod *corev1.Pod) time.Time {
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return time.Time{}
	}
	return pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
}

// computeUsage names requests and limits as quotas do.
func computeUsage(requests, limits corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{corev1.ResourcePods: one()}
	for name, q := range requests {
		prefixed := corev1.DefaultResourceRequestsPrefix + name
		switch {
		case podNames[name], strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			out[name], out[prefixed] = q, q
		case isExtended(prefixed):
			out[prefixed] = q
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := limits[name]; ok {
			out["limits."+name] = q
		}
	}
	return out
}

// podDemand: what of cpu and memory is limited must be said by every container, unless the pod says it as a whole.
func podDemand(names []corev1.ResourceName, pod *corev1.Pod) error {
	if helpers.IsPodLevelResourcesSet(pod) {
		return nil
	}
	missing := map[string][]string{}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			has := computeUsage(containers[i].Resources.Requests, containers[i].Resources.Limits)
			for _, name := range names {
				if _, ok := has[name]; demanded[name] && !ok {
					missing[string(name)] = append(missing[string(name)], containers[i].Name)
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		slices.Sort(missing[name])
		parts = append(parts, name+" for: "+strings.Join(slices.Compact(missing[name]), ","))
	}
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}

func hasDeadline(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

func podInScope(s corev1.ScopedResourceSelectorRequirement, pod *corev1.Pod) bool {
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return hasDeadline(pod)
	case corev1.ResourceQuotaScopeNotTerminating:
		return !hasDeadline(pod)
	case corev1.ResourceQuotaScopeBestEffort:
		return podspec.QOS(&pod.Spec) == corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopeNotBestEffort:
		return podspec.QOS(&pod.Spec) != corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopePriorityClass:
		if pod.Spec.PriorityClassName == "" {
			return selects(s)
		}
		return selects(s, pod.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return looksElsewhere(pod.Spec.Affinity)
	}
	return false
}

// looksElsewhere reports whether an affinity is about pods of other namespaces.
func looksElsewhere(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	var weighted []corev1.WeightedPodAffinityTerm
	if near := a.PodAffinity; near != nil {
		terms = append(terms, near.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted = append(weighted, near.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	if far := a.PodAntiAffinity; far != nil {
		terms = append(terms, far.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted = append(weighted, far.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	for _, w := range weighted {
		terms = append(terms, w.PodAffinityTerm)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}
