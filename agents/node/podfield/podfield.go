// Package podfield reads fields of a pod for the containers in it: what fieldRef and resourceFieldRef name, in
// environment variables and in downwardAPI volumes.
package podfield

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Facts are what the pod object itself does not say yet.
type Facts struct {
	PodIPs  []string
	HostIPs []string
	// Allocatable are the node's resources: the limit of a container that has none.
	Allocatable corev1.ResourceList
}

var fields = map[string]func(*corev1.Pod, *Facts) string{
	"metadata.name":           func(p *corev1.Pod, _ *Facts) string { return p.Name },
	"metadata.namespace":      func(p *corev1.Pod, _ *Facts) string { return p.Namespace },
	"metadata.uid":            func(p *corev1.Pod, _ *Facts) string { return string(p.UID) },
	"metadata.labels":         func(p *corev1.Pod, _ *Facts) string { return format(p.Labels) },
	"metadata.annotations":    func(p *corev1.Pod, _ *Facts) string { return format(p.Annotations) },
	"spec.nodeName":           func(p *corev1.Pod, _ *Facts) string { return p.Spec.NodeName },
	"spec.serviceAccountName": func(p *corev1.Pod, _ *Facts) string { return p.Spec.ServiceAccountName },
	"spec.host":               func(p *corev1.Pod, _ *Facts) string { return p.Spec.NodeName },
	"status.hostIP":           func(_ *corev1.Pod, f *Facts) string { return first(f.HostIPs) },
	"status.hostIPs":          func(_ *corev1.Pod, f *Facts) string { return strings.Join(f.HostIPs, ",") },
	"status.podIP":            func(_ *corev1.Pod, f *Facts) string { return first(f.PodIPs) },
	"status.podIPs":           func(_ *corev1.Pod, f *Facts) string { return strings.Join(f.PodIPs, ",") },
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// format writes a map as downwardAPI files carry it: one key="value" a line, sorted, values escaped.
func format(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, key+"="+strconv.Quote(m[key]))
	}
	return strings.Join(lines, "\n")
}

// Field returns the value that a fieldRef names, such as "metadata.labels['app']".
func Field(pod *corev1.Pod, facts *Facts, path string) (string, error) {
	if get, ok := fields[path]; ok {
		return get(pod, facts), nil
	}
	name, key, ok := strings.Cut(strings.TrimSuffix(path, "']"), "['")
	if ok && strings.HasSuffix(path, "']") {
		switch name {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	return "", fmt.Errorf("unsupported fieldPath: %s", path)
}

// Resource returns the value that a resourceFieldRef names, in units of its divisor and rounded up. Unless the
// reference names a container, it is about the one given.
func Resource(pod *corev1.Pod, facts *Facts, container string, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" {
		container = ref.ContainerName
	}
	c := find(pod, container)
	if c == nil {
		return "", fmt.Errorf("container %s not found", container)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	var value resource.Quantity
	switch kind {
	case "limits":
		value = c.Resources.Limits[corev1.ResourceName(name)]
		if value.IsZero() && pod.Spec.Resources != nil {
			value = pod.Spec.Resources.Limits[corev1.ResourceName(name)]
		}
		if value.IsZero() {
			value = facts.Allocatable[corev1.ResourceName(name)]
		}
	case "requests":
		value = c.Resources.Requests[corev1.ResourceName(name)]
		if value.IsZero() {
			value = c.Resources.Limits[corev1.ResourceName(name)]
		}
	default:
		return "", fmt.Errorf("unsupported container resource: %s", ref.Resource)
	}
	return divide(value, ref.Divisor, name == string(corev1.ResourceCPU)), nil
}

func divide(value, divisor resource.Quantity, milli bool) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	v, d := value.Value(), divisor.Value()
	if milli {
		v, d = value.MilliValue(), divisor.MilliValue()
	}
	return strconv.FormatInt((v+d-1)/d, 10)
}

func find(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
