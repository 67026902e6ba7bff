package server

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	agentv1 "karve.dev/karve/gen/go/karve/agent/v1"
)

const annotationDefaultContainer = "kubectl.kubernetes.io/default-container"

// resolveContainer fills in the container that a reference leaves open, and refuses one that the pod does not have.
func resolveContainer(ref *agentv1.PodRef, pod *corev1.Pod) error {
	names, inits := containerNames(pod)
	if ref.GetContainer() == "" {
		return defaultContainer(ref, pod, names, inits)
	}
	for _, name := range append(names, inits...) {
		if name == ref.Container {
			return nil
		}
	}
	return apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", ref.Container, pod.Name))
}

func containerNames(pod *corev1.Pod) (names, inits []string) {
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.InitContainers {
		inits = append(inits, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		inits = append(inits, c.Name)
	}
	return names, inits
}

func defaultContainer(ref *agentv1.PodRef, pod *corev1.Pod, names, inits []string) error {
	if name := pod.Annotations[annotationDefaultContainer]; name != "" {
		for _, have := range names {
			if have == name {
				ref.Container = name
				return nil
			}
		}
	}
	switch {
	case len(names) == 1:
		ref.Container = names[0]
		return nil
	case len(inits) > 0:
		return apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s] or one of the init containers: [%s]",
			pod.Name, strings.Join(names, " "), strings.Join(inits, " ")))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(names, " ")))
}
