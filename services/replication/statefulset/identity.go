package statefulset

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/replication/pods"
	"karve.dev/karve/services/replication/revision"
)

// revisionLabel of a pod names the ControllerRevision that it is made from.
const revisionLabel = appsv1.StatefulSetRevisionLabel

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return fmt.Sprintf("%s-%d", set.Name, ordinal)
}

// ordinalOf returns the number in the name of one of the set's pods; ok is false for other names.
func ordinalOf(set *appsv1.StatefulSet, name string) (ordinal int, ok bool) {
	text, found := strings.CutPrefix(name, set.Name+"-")
	if !found || len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err == nil
}

// newPod returns the set's pod of an ordinal, made from a revision of its template.
func newPod(set *appsv1.StatefulSet, from *appsv1.ControllerRevision, ordinal int) (*corev1.Pod, error) {
	template, err := revision.Template(from)
	if err != nil {
		return nil, err
	}
	p, err := pods.FromTemplate(set, template)
	if err != nil {
		return nil, err
	}
	p.Name, p.GenerateName = podName(set, ordinal), set.Name+"-"
	labels := map[string]string{}
	maps.Copy(labels, p.Labels)
	labels[appsv1.StatefulSetPodNameLabel] = p.Name
	labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
	labels[revisionLabel] = from.Name
	p.Labels = labels
	p.Spec.Hostname, p.Spec.Subdomain = p.Name, set.Spec.ServiceName
	p.Spec.Volumes = volumes(set, p)
	return p, nil
}

// volumes are the template's, with the pod's own claims in place of those of the same name.
func volumes(set *appsv1.StatefulSet, p *corev1.Pod) []corev1.Volume {
	var out []corev1.Volume
	own := map[string]bool{}
	for i := range set.Spec.VolumeClaimTemplates {
		name := set.Spec.VolumeClaimTemplates[i].Name
		own[name] = true
		out = append(out, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name + "-" + p.Name},
		}})
	}
	for _, v := range p.Spec.Volumes {
		if !own[v.Name] {
			out = append(out, v)
		}
	}
	return out
}

// claims are the volume claims of one of the set's pods.
func claims(set *appsv1.StatefulSet, pod string) []*corev1.PersistentVolumeClaim {
	var out []*corev1.PersistentVolumeClaim
	for i := range set.Spec.VolumeClaimTemplates {
		c := set.Spec.VolumeClaimTemplates[i].DeepCopy()
		c.Name, c.Namespace = c.Name+"-"+pod, set.Namespace
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		if set.Spec.Selector != nil {
			maps.Copy(c.Labels, set.Spec.Selector.MatchLabels)
		}
		out = append(out, c)
	}
	return out
}
