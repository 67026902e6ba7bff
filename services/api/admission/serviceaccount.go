package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"
)

// Where a pod finds its token, and what the volume that holds it is called.
const (
	tokenMountPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenVolumePrefix = "kube-api-access-"
	// tokenSeconds is an hour and a bit, so that a token that is renewed hourly never runs out in between.
	tokenSeconds = 3607
	// RootCAConfigMap is the ConfigMap in every namespace that holds the cluster's CA certificate.
	RootCAConfigMap  = "kube-root-ca.crt"
	annotationMirror = "kubernetes.io/config.mirror"
)

var gvkServiceAccount = corev1.SchemeGroupVersion.WithKind("ServiceAccount")

// serviceAccount gives every pod an account and mounts its token.
type serviceAccount struct{ Reader }

func (p serviceAccount) Admit(ctx context.Context, a *Attributes) error {
	if a.Operation != Create || !a.Is("", "Pod") {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if _, mirror := pod.Annotations[annotationMirror]; mirror {
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	obj, err := p.Read(ctx, gvkServiceAccount, a.Namespace, pod.Spec.ServiceAccountName)
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(corev1.Resource("serviceaccount"), pod.Spec.ServiceAccountName)
	}
	if err != nil {
		return apierrors.NewForbidden(a.GroupResource(), a.Name, fmt.Errorf("error looking up service account %s/%s: %w", a.Namespace, pod.Spec.ServiceAccountName, err))
	}
	account := obj.(*corev1.ServiceAccount)
	if wantsToken(pod, account) {
		mountToken(&pod.Spec)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

// wantsToken: the pod's word counts before the account's.
func wantsToken(pod *corev1.Pod, account *corev1.ServiceAccount) bool {
	for _, said := range []*bool{pod.Spec.AutomountServiceAccountToken, account.AutomountServiceAccountToken} {
		if said != nil {
			return *said
		}
	}
	return true
}

func mountToken(spec *corev1.PodSpec) {
	name := ""
	for _, v := range spec.Volumes {
		if len(v.Name) > len(tokenVolumePrefix) && v.Name[:len(tokenVolumePrefix)] == tokenVolumePrefix {
			name = v.Name
		}
	}
	fresh := name == ""
	if fresh {
		name = tokenVolumePrefix + rand.String(5)
	}
	mounted := false
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			mounted = mountIn(&containers[i], name) || mounted
		}
	}
	if fresh && mounted {
		spec.Volumes = append(spec.Volumes, tokenVolume(name))
	}
}

// mountIn leaves a container alone that has something of its own at the token's place.
func mountIn(c *corev1.Container, volume string) bool {
	for _, m := range c.VolumeMounts {
		if m.MountPath == tokenMountPath {
			return false
		}
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: tokenMountPath})
	return true
}

func tokenVolume(name string) corev1.Volume {
	seconds, mode := int64(tokenSeconds), int32(0o644)
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: RootCAConfigMap},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
			}}},
		},
	}}}
}
