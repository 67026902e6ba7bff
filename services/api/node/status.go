package node

import (
	corev1 "k8s.io/api/core/v1"
)

// nodeConditions are the conditions that a pod's node decides; it says what they are, and when they are gone.
var nodeConditions = map[corev1.PodConditionType]bool{
	corev1.PodInitialized: true, corev1.PodReady: true, corev1.ContainersReady: true, corev1.PodReadyToStartContainers: true,
	corev1.PodResizePending: true, corev1.PodResizeInProgress: true,
}

// mergeStatus returns what becomes of a pod's status when its node reports another: all of it, but for what the
// control plane owns.
func mergeStatus(pod *corev1.Pod, reported *corev1.PodStatus) corev1.PodStatus {
	out := *reported
	stored := &pod.Status
	out.NominatedNodeName = stored.NominatedNodeName
	if out.QOSClass == "" {
		out.QOSClass = stored.QOSClass
	}
	theirs := map[corev1.PodConditionType]bool{}
	for _, gate := range pod.Spec.ReadinessGates {
		theirs[gate.ConditionType] = true
	}
	said := map[corev1.PodConditionType]bool{}
	for _, c := range reported.Conditions {
		said[c.Type] = true
	}
	// In the order in which a kubelet has them: what others say comes first, what the node says last.
	out.Conditions = nil
	for _, c := range stored.Conditions {
		if theirs[c.Type] || !nodeConditions[c.Type] && !said[c.Type] {
			out.Conditions = append(out.Conditions, c)
		}
	}
	for _, c := range reported.Conditions {
		if !theirs[c.Type] {
			out.Conditions = append(out.Conditions, c)
		}
	}
	keepTimes(out.Conditions, stored.Conditions)
	return out
}

// keepTimes gives a condition whose status is as before the time since when it is.
func keepTimes(now, before []corev1.PodCondition) {
	for i := range now {
		for j := range before {
			if now[i].Type == before[j].Type && now[i].Status == before[j].Status && now[i].LastTransitionTime.IsZero() {
				now[i].LastTransitionTime = before[j].LastTransitionTime
			}
		}
	}
}
