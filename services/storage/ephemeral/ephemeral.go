// Package ephemeral makes the claims of pods' ephemeral volumes. A claim belongs to its pod and goes with it.
package ephemeral

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/internal/volume"
	"karve.dev/karve/services/storage/usage"
)

const workers = 4

// Controller makes the claims.
type Controller struct {
	client *client.Client
	events *events.Recorder
	pods   usage.Pods
	claims *informer.Informer[*corev1.PersistentVolumeClaim]
	queue  *reconcile.Controller
}

// New returns the controller; the set may not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, events: recorder.As("ephemeral-volume"), pods: usage.New(set), claims: informer.For[*corev1.PersistentVolumeClaim](set),
	}
	r.queue = reconcile.New("ephemeral-volume", workers, r.reconcile, log)
	r.pods.OnChange(func(_, now *corev1.Pod) {
		if now != nil && wants(now) {
			r.queue.Enqueue(informer.KeyOf(now))
		}
	})
	r.claims.OnChange(func(old, now *corev1.PersistentVolumeClaim) {
		if now != nil {
			return
		}
		for _, p := range r.pods.Of(informer.KeyOf(old)) {
			r.queue.Enqueue(informer.KeyOf(p))
		}
	})
	return r
}

// wants says whether a pod may lack a claim that is to be made for it.
func wants(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	for i := range p.Spec.Volumes {
		if p.Spec.Volumes[i].Ephemeral != nil {
			return true
		}
	}
	return false
}

// Run works until ctx ends.
func (r *Controller) Run(ctx context.Context) error { return r.queue.Run(ctx) }

func (r *Controller) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	pod, ok := r.pods.Get(key.Namespace, key.Name)
	if !ok || !wants(pod) {
		return 0, nil
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			if err := r.ensure(ctx, pod, v); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}

func (r *Controller) ensure(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	want := claimFor(pod, v)
	have, ok := r.claims.Get(want.Namespace, want.Name)
	if !ok {
		err := r.client.Create(ctx, want)
		if err == nil {
			return nil
		}
		have = &corev1.PersistentVolumeClaim{}
		if !apierrors.IsAlreadyExists(err) {
			r.events.Event(pod, corev1.EventTypeWarning, "FailedCreate", "create claim %s for volume %s: %v", want.Name, v.Name, err)
			return fmt.Errorf("create claim %s: %w", want.Name, err)
		}
		if err := r.client.Get(ctx, have, want.Namespace, want.Name); err != nil {
			return fmt.Errorf("read claim %s: %w", want.Name, err)
		}
	}
	if !volume.OwnedBy(have, pod) {
		r.events.Event(pod, corev1.EventTypeWarning, "FailedCreate", "PVC \"%s/%s\" was not created for pod \"%s/%s\" (pod is not owner)", have.Namespace, have.Name, pod.Namespace, pod.Name)
	}
	return nil
}

// claimFor is the claim of a pod's ephemeral volume.
func claimFor(pod *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolumeClaim {
	template := v.Ephemeral.VolumeClaimTemplate.DeepCopy()
	yes := true
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: volume.ClaimName(pod, v), Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes, BlockOwnerDeletion: &yes}},
		},
		Spec: template.Spec,
	}
}
