package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Warnings are for what is allowed and most likely not meant.
func Warnings(p *field.Path, spec *corev1.PodSpec) []string {
	var w []string
	if g := spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w = append(w, fmt.Sprintf("%s: must be >= 0; negative values are invalid and will be treated as 1", p.Child("terminationGracePeriodSeconds")))
	}
	for i := range spec.Volumes {
		if name, since := goneVolume(&spec.Volumes[i]); name != "" {
			w = append(w, fmt.Sprintf("%s: deprecated in %s", p.Child("volumes").Index(i).Child(name), since))
		}
	}
	secrets := map[string]bool{}
	for i, s := range spec.ImagePullSecrets {
		at := p.Child("imagePullSecrets").Index(i).Child("name")
		if secrets[s.Name] && s.Name != "" {
			w = append(w, fmt.Sprintf("%s: duplicate name %q", p.Child("imagePullSecrets").Index(i), s.Name))
		}
		if s.Name == "" {
			w = append(w, fmt.Sprintf("%s: invalid empty name %q", at, s.Name))
		}
		secrets[s.Name] = true
	}
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", spec.InitContainers}, {"containers", spec.Containers}} {
		for i := range list.containers {
			w = append(w, containerWarnings(p.Child(list.name).Index(i), &list.containers[i])...)
		}
	}
	return w
}

// goneVolume is the name of a kind of volume that nothing mounts any more, and since when.
func goneVolume(v *corev1.Volume) (name, since string) {
	switch {
	case v.PhotonPersistentDisk != nil:
		return "photonPersistentDisk", "v1.11, non-functional in v1.16+"
	case v.GitRepo != nil:
		return "gitRepo", "v1.11, and disabled by default in v1.33+"
	case v.ScaleIO != nil:
		return "scaleIO", "v1.16, non-functional in v1.22+"
	case v.Flocker != nil:
		return "flocker", "v1.22, non-functional in v1.25+"
	case v.StorageOS != nil:
		return "storageOS", "v1.22, non-functional in v1.25+"
	case v.Quobyte != nil:
		return "quobyte", "v1.22, non-functional in v1.25+"
	case v.Glusterfs != nil:
		return "glusterfs", "v1.25, non-functional in v1.26+"
	case v.CephFS != nil:
		return "cephfs", "v1.28, non-functional in v1.31+"
	case v.RBD != nil:
		return "rbd", "v1.28, non-functional in v1.31+"
	}
	return "", ""
}

func containerWarnings(p *field.Path, c *corev1.Container) []string {
	var w []string
	env := map[string]bool{}
	for i := range c.Env {
		if v := &c.Env[i]; env[v.Name] {
			w = append(w, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply", p.Child("env").Index(i), v.Name))
		} else {
			env[v.Name] = true
		}
	}
	for _, l := range []struct {
		name string
		list corev1.ResourceList
	}{{"limits", c.Resources.Limits}, {"requests", c.Resources.Requests}} {
		for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			if q, ok := l.list[name]; ok && q.MilliValue()%1000 != 0 {
				w = append(w, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", p.Child("resources", l.name).Key(string(name)), q.String()))
			}
		}
	}
	return append(w, portWarnings(p.Child("ports"), c.Ports)...)
}

func portWarnings(p *field.Path, ports []corev1.ContainerPort) []string {
	type key struct {
		port     int32
		protocol corev1.Protocol
		host     int32
		ip       string
	}
	var w []string
	seen := map[key]int{}
	for i, port := range ports {
		k := key{port.ContainerPort, port.Protocol, port.HostPort, port.HostIP}
		if first, ok := seen[k]; ok {
			w = append(w, fmt.Sprintf("%s: duplicate port definition with %s", p.Index(i), p.Index(first)))
		} else {
			seen[k] = i
		}
	}
	return w
}
