package node

import (
	corev1 "k8s.io/api/core/v1"
)

// refSet collects the names of objects, each once, in the order in which they are first seen.
type refSet struct {
	namespace string
	seen      map[ref]bool
	refs      []ref
}

func (s *refSet) add(r ref) {
	if r.name == "" || s.seen[r] {
		return
	}
	s.seen[r] = true
	s.refs = append(s.refs, r)
}

func (s *refSet) configMap(name string) { s.add(ref{kindConfigMap, s.namespace, name}) }
func (s *refSet) secret(name string)    { s.add(ref{kindSecret, s.namespace, name}) }
func (s *refSet) claim(name string)     { s.add(ref{kindClaim, s.namespace, name}) }
func (s *refSet) class(name string)     { s.add(ref{kindClass, "", name}) }

// dependents returns the objects without which a node cannot run a pod: the ConfigMaps, Secrets, claims and
// RuntimeClass that its spec names.
func dependents(pod *corev1.Pod) []ref {
	s := &refSet{namespace: pod.Namespace, seen: map[ref]bool{}}
	if name := pod.Spec.RuntimeClassName; name != nil {
		s.class(*name)
	}
	for _, p := range pod.Spec.ImagePullSecrets {
		s.secret(p.Name)
	}
	for i := range pod.Spec.Volumes {
		s.volume(pod, &pod.Spec.Volumes[i])
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			s.environment(containers[i].Env, containers[i].EnvFrom)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		s.environment(pod.Spec.EphemeralContainers[i].Env, pod.Spec.EphemeralContainers[i].EnvFrom)
	}
	return s.refs
}

func (s *refSet) environment(env []corev1.EnvVar, from []corev1.EnvFromSource) {
	for i := range env {
		if v := env[i].ValueFrom; v != nil {
			if v.ConfigMapKeyRef != nil {
				s.configMap(v.ConfigMapKeyRef.Name)
			}
			if v.SecretKeyRef != nil {
				s.secret(v.SecretKeyRef.Name)
			}
		}
	}
	for i := range from {
		if from[i].ConfigMapRef != nil {
			s.configMap(from[i].ConfigMapRef.Name)
		}
		if from[i].SecretRef != nil {
			s.secret(from[i].SecretRef.Name)
		}
	}
}

func (s *refSet) volume(pod *corev1.Pod, v *corev1.Volume) {
	switch {
	case v.ConfigMap != nil:
		s.configMap(v.ConfigMap.Name)
	case v.Secret != nil:
		s.secret(v.Secret.SecretName)
	case v.PersistentVolumeClaim != nil:
		s.claim(v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		s.claim(pod.Name + "-" + v.Name)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if c := v.Projected.Sources[i].ConfigMap; c != nil {
				s.configMap(c.Name)
			}
			if c := v.Projected.Sources[i].Secret; c != nil {
				s.secret(c.Name)
			}
		}
	case v.CSI != nil && v.CSI.NodePublishSecretRef != nil:
		s.secret(v.CSI.NodePublishSecretRef.Name)
	}
}
