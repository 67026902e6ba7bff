package admission

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

func isMirror(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[annotationMirror]
	return mirror
}

// checkMirror: a mirror shows what a node runs of its own accord, so it can refer to nothing that only the API gives.
func checkMirror(a *Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return a.forbidden(errors.New("a mirror pod may not reference service accounts"))
	}
	inVolume := slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Secret != nil })
	if len(pod.Spec.ImagePullSecrets) > 0 || inVolume || len(secretUses(pod)) > 0 {
		return a.forbidden(errors.New("a mirror pod may not reference secrets"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil {
				return a.forbidden(errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
			}
			if source.Secret != nil {
				return a.forbidden(errors.New("a mirror pod may not reference secrets"))
			}
		}
	}
	return nil
}

// secretUse is a Secret that a container has in its environment.
type secretUse struct{ container, how, secret string }

func secretUses(pod *corev1.Pod) (out []secretUse) {
	add := func(what, name string, env []corev1.EnvVar, from []corev1.EnvFromSource) {
		for _, e := range env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				out = append(out, secretUse{what + " " + name, "envVar " + e.Name, e.ValueFrom.SecretKeyRef.Name})
			}
		}
		for _, f := range from {
			if f.SecretRef != nil {
				out = append(out, secretUse{what + " " + name, "envFrom", f.SecretRef.Name})
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		add("init container", c.Name, c.Env, c.EnvFrom)
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		add("container", c.Name, c.Env, c.EnvFrom)
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		add("ephemeral container", c.Name, c.Env, c.EnvFrom)
	}
	return out
}

// checkSecrets: an account may limit its pods to the Secrets that it names.
func checkSecrets(a *Attributes, pod *corev1.Pod, account *corev1.ServiceAccount) error {
	named := func(secret string) bool {
		return slices.ContainsFunc(account.Secrets, func(ref corev1.ObjectReference) bool { return ref.Name == secret })
	}
	const unnamed = "is not allowed because service account %s does not reference that secret"
	if a.Operation == Create {
		for _, v := range pod.Spec.Volumes {
			if v.Secret != nil && !named(v.Secret.SecretName) {
				return a.forbidden(fmt.Errorf("volume with secret.secretName=\"%s\" "+unnamed, v.Secret.SecretName, account.Name))
			}
		}
	}
	for _, u := range secretUses(pod) {
		if !named(u.secret) {
			return a.forbidden(fmt.Errorf("%s with %s referencing secret.secretName=\"%s\" "+unnamed, u.container, u.how, u.secret, account.Name))
		}
	}
	if a.Operation != Create {
		return nil
	}
	for i, ref := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(account.ImagePullSecrets, ref) {
			return a.forbidden(fmt.Errorf(`imagePullSecrets[%d].name="%s" is not allowed because service account %s does not reference that imagePullSecret`, i, ref.Name, account.Name))
		}
	}
	return nil
}
