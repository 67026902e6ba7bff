package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// QOS is the class by which a node decides whose memory it takes first. It is set once, when a pod is made.
func QOS(spec *corev1.PodSpec) corev1.PodQOSClass {
	if spec.Resources != nil {
		return qosOf([]corev1.ResourceRequirements{*spec.Resources})
	}
	var all []corev1.ResourceRequirements
	for i := range spec.InitContainers {
		all = append(all, spec.InitContainers[i].Resources)
	}
	for i := range spec.Containers {
		all = append(all, spec.Containers[i].Resources)
	}
	return qosOf(all)
}

// qosOf: guaranteed when everything has equal requests and limits for processor and memory, best effort when nothing
// has either.
func qosOf(all []corev1.ResourceRequirements) corev1.PodQOSClass {
	asked, guaranteed := false, true
	for i := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := all[i].Requests[name], all[i].Limits[name]
			asked = asked || positive(request) || positive(limit)
			if !positive(limit) || request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !asked:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func positive(q resource.Quantity) bool { return q.Sign() > 0 }

// MergeLabelKeys writes the values of the keys that a constraint wants to match (or not) into its selector, so that who
// reads the pod needs the selector only. labels are the pod's.
func MergeLabelKeys(spec *corev1.PodSpec, labels map[string]string) {
	for i := range spec.TopologySpreadConstraints {
		c := &spec.TopologySpreadConstraints[i]
		mergeKeys(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn, labels)
	}
	if spec.Affinity == nil {
		return
	}
	if a := spec.Affinity.PodAffinity; a != nil {
		mergeTermKeys(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution, labels)
	}
	if a := spec.Affinity.PodAntiAffinity; a != nil {
		mergeTermKeys(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution, labels)
	}
}

func mergeTermKeys(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, labels map[string]string) {
	merge := func(t *corev1.PodAffinityTerm) {
		mergeKeys(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn, labels)
		mergeKeys(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, labels)
	}
	for i := range required {
		merge(&required[i])
	}
	for i := range preferred {
		merge(&preferred[i].PodAffinityTerm)
	}
}

func mergeKeys(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator, labels map[string]string) {
	if s == nil {
		return
	}
	for _, key := range keys {
		if v, ok := labels[key]; ok {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{v}})
		}
	}
}
