package admission

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"karve.dev/karve/services/api/registry"
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
	// annotationMountable, when true, keeps an account's pods from all Secrets but those that the account names.
	annotationMountable = "kubernetes.io/enforce-mountable-secrets"
	defaultAccount      = "default"
	// accountWithin is how long a pod waits for its namespace's default account.
	accountWithin = 2 * time.Second
)

var gvkServiceAccount = corev1.SchemeGroupVersion.WithKind("ServiceAccount")

// Awaiter is what a Reader may be able to do besides.
type Awaiter interface {
	// Await returns an object when it is there; a NotFound StatusError when ctx ends before.
	Await(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (registry.Object, error)
}

// serviceAccount gives every pod an account and mounts its token.
type serviceAccount struct{ Reader }

var _ Validator = serviceAccount{}

// Admit implements Plugin.
func (p serviceAccount) Admit(ctx context.Context, a *Attributes) error {
	if a.Operation != Create || !a.Is("", "Pod") {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if isMirror(pod) {
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	account, err := p.account(ctx, a, pod)
	if err != nil {
		return err
	}
	if wantsToken(pod, account) {
		mountToken(&pod.Spec)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

// Validate implements Validator.
func (p serviceAccount) Validate(ctx context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	switch {
	case !ok:
		return nil
	case a.Operation == Create && a.Subresource == "" && isMirror(pod):
		return checkMirror(a, pod)
	case a.Operation == Create && a.Subresource == "":
	case a.Operation != Update || a.Subresource != "ephemeralcontainers":
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		return a.forbidden(fmt.Errorf("no service account specified for pod %s/%s", a.Namespace, pod.Name))
	}
	account, err := p.account(ctx, a, pod)
	if err != nil {
		return err
	}
	if limited, _ := strconv.ParseBool(account.Annotations[annotationMountable]); limited {
		return checkSecrets(a, pod, account)
	}
	return nil
}

// account returns a pod's account. The default one is waited for: a controller makes it when the namespace comes.
func (p serviceAccount) account(ctx context.Context, a *Attributes, pod *corev1.Pod) (*corev1.ServiceAccount, error) {
	name := pod.Spec.ServiceAccountName
	if a.account != nil && a.account.Name == name {
		return a.account, nil
	}
	obj, err := p.Read(ctx, gvkServiceAccount, a.Namespace, name)
	if waiter, can := p.Reader.(Awaiter); can && name == defaultAccount && apierrors.IsNotFound(err) {
		wait, cancel := context.WithTimeout(ctx, accountWithin)
		defer cancel()
		obj, err = waiter.Await(wait, gvkServiceAccount, a.Namespace, name)
	}
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
	}
	if err != nil {
		return nil, a.forbidden(fmt.Errorf("error looking up service account %s/%s: %w", a.Namespace, name, err))
	}
	a.account = obj.(*corev1.ServiceAccount)
	return a.account, nil
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
