// Package protection takes the finalizers off that keep claims and volumes while they are in use, once they are not.
package protection

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/internal/volume"
	"karve.dev/karve/services/storage/usage"
)

// Controller takes the finalizers off.
type Controller struct {
	client                  *client.Client
	claims                  *informer.Informer[*corev1.PersistentVolumeClaim]
	volumes                 *informer.Informer[*corev1.PersistentVolume]
	pods                    usage.Pods
	claimQueue, volumeQueue *reconcile.Controller
}

// New returns the controller; the set may not run yet.
func New(c *client.Client, set *informer.Set, log *zap.Logger) *Controller {
	r := &Controller{
		client: c, claims: informer.For[*corev1.PersistentVolumeClaim](set),
		volumes: informer.For[*corev1.PersistentVolume](set), pods: usage.New(set),
	}
	r.claimQueue = reconcile.New("pvc-protection-controller", 1, r.reconcileClaim, log)
	r.volumeQueue = reconcile.New("pv-protection-controller", 1, r.reconcileVolume, log)
	r.claims.OnChange(func(_, now *corev1.PersistentVolumeClaim) {
		if now != nil && freeable(now, volume.ClaimProtection) {
			r.claimQueue.Enqueue(informer.KeyOf(now))
		}
	})
	r.volumes.OnChange(func(_, now *corev1.PersistentVolume) {
		if now != nil && freeable(now, volume.VolumeProtection) {
			r.volumeQueue.Enqueue(informer.KeyOf(now))
		}
	})
	r.pods.OnChange(func(old, now *corev1.Pod) {
		if old == nil || now != nil && usage.HoldsClaims(now) {
			return
		}
		for _, name := range volume.ClaimNames(old) {
			if c, ok := r.claims.Get(old.Namespace, name); ok && freeable(c, volume.ClaimProtection) {
				r.claimQueue.Enqueue(informer.KeyOf(c))
			}
		}
	})
	return r
}

// freeable says whether an object is only waiting for a finalizer.
func freeable(o client.Object, finalizer string) bool {
	return o.GetDeletionTimestamp() != nil && slices.Contains(o.GetFinalizers(), finalizer)
}

// Run works until ctx ends.
func (r *Controller) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return r.claimQueue.Run(ctx) })
	g.Go(func() error { return r.volumeQueue.Run(ctx) })
	return g.Wait()
}

func (r *Controller) reconcileClaim(ctx context.Context, key informer.Key) (time.Duration, error) {
	c, ok := r.claims.Get(key.Namespace, key.Name)
	if !ok || !freeable(c, volume.ClaimProtection) || slices.ContainsFunc(r.pods.Of(key), usage.HoldsClaims) {
		return 0, nil
	}
	// A pod that the informer does not show yet would lose its data: ask.
	pods := &corev1.PodList{}
	if err := r.client.List(ctx, pods, client.ListOptions{Namespace: key.Namespace}); err != nil {
		return 0, fmt.Errorf("look for users of claim %s: %w", key, err)
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; usage.HoldsClaims(p) && slices.Contains(volume.ClaimNames(p), key.Name) {
			return 0, nil
		}
	}
	return 0, r.free(ctx, c.DeepCopy(), volume.ClaimProtection)
}

func (r *Controller) reconcileVolume(ctx context.Context, key informer.Key) (time.Duration, error) {
	v, ok := r.volumes.Get("", key.Name)
	if !ok || !freeable(v, volume.VolumeProtection) || v.Status.Phase == corev1.VolumeBound {
		return 0, nil
	}
	return 0, r.free(ctx, v.DeepCopy(), volume.VolumeProtection)
}

func (r *Controller) free(ctx context.Context, o client.Object, finalizer string) error {
	o.SetFinalizers(slices.DeleteFunc(o.GetFinalizers(), func(f string) bool { return f == finalizer }))
	if err := r.client.Update(ctx, o); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("take finalizer %s off %s: %w", finalizer, informer.KeyOf(o), err)
	}
	return nil
}
