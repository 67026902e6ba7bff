package volume

import corev1 "k8s.io/api/core/v1"

// Used are the volumes that one of the pod's containers wants to see. Others are not made: nothing is to be missing for
// what nobody needs.
func Used(pod *corev1.Pod) map[string]bool {
	used := map[string]bool{}
	take := func(c *corev1.Container) {
		for i := range c.VolumeMounts {
			used[c.VolumeMounts[i].Name] = true
		}
		for i := range c.VolumeDevices {
			used[c.VolumeDevices[i].Name] = true
		}
		for i := range c.Env {
			if from := c.Env[i].ValueFrom; from != nil && from.FileKeyRef != nil {
				used[from.FileKeyRef.VolumeName] = true
			}
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			take(&list[i])
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		take((*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return used
}

// Complete tells whether all volumes are made that the pod's containers use; a container may have been added since.
func (p *Prepared) Complete(pod *corev1.Pod) bool {
	for name := range Used(pod) {
		if _, made := p.Paths[name]; !made {
			return false
		}
	}
	return true
}
