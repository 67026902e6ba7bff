// Package admit decides whether a node takes a pod that has been given to it. The scheduler asks most of this before, but
// not of pods that name their node themselves, and it knows nothing of what a node allows. A pod that is refused has failed;
// reasons and messages are a kubelet's.
package admit

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Facts are what a node decides by.
type Facts struct {
	// Node is the node's object; nil while it is not known: then nothing is refused for its labels.
	Node *corev1.Node
	// Allocatable are the node's resources; what it does not name is not counted.
	Allocatable corev1.ResourceList
	// Others are the pods that the node has already taken and that have not ended.
	Others []*corev1.Pod
	// UnsafeSysctls are kernel parameters that pods may set besides the safe ones, with a "*" at the end for all that begin so.
	UnsafeSysctls []string
	// AppArmor is whether the kernel has it.
	AppArmor bool
}

// Refusal says why a pod is not taken.
type Refusal struct {
	// Reason is one word, Message a sentence for people.
	Reason, Message string
}

var rules = []func(*corev1.Pod, *Facts) *Refusal{system, parameters, users, profiles, resources, ports, labels}

// Check returns why a node must not run a pod; nil when it may.
func Check(pod *corev1.Pod, facts *Facts) *Refusal {
	for _, rule := range rules {
		if r := rule(pod, facts); r != nil {
			return r
		}
	}
	return nil
}

func system(pod *corev1.Pod, _ *Facts) *Refusal {
	if os := pod.Spec.OS; os != nil && os.Name != corev1.Linux {
		return &Refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}
	}
	if name, ok := pod.Spec.NodeSelector[corev1.LabelOSStable]; ok && name != string(corev1.Linux) {
		return &Refusal{"PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"}
	}
	return nil
}

// users refuses what would silently be less than was asked for: the engine maps no users for single containers.
func users(pod *corev1.Pod, _ *Facts) *Refusal {
	if own := pod.Spec.HostUsers; own != nil && !*own {
		return &Refusal{"UserNamespacesNotSupported", "can't set `spec.hostUsers: false`, runtime does not support user namespaces"}
	}
	return nil
}

func labels(pod *corev1.Pod, facts *Facts) *Refusal {
	if facts.Node == nil {
		return nil
	}
	if match, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(facts.Node); err != nil || !match {
		return &Refusal{"NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}
	}
	return nil
}

func resources(pod *corev1.Pod, facts *Facts) *Refusal {
	if most, ok := facts.Allocatable[corev1.ResourcePods]; ok && int64(len(facts.Others)) >= most.Value() {
		return (&Lack{corev1.ResourcePods, 1, int64(len(facts.Others)), most.Value()}).refusal()
	}
	if l := FirstLack(pod, facts.Allocatable, facts.Others); l != nil {
		return l.refusal()
	}
	return nil
}
