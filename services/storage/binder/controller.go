// Package binder gives claims their volumes, and decides what becomes of volumes whose claims are gone.
package binder

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
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

// Indexes of volumes and of claims that have none yet.
const (
	byClass      = "class"
	byClaim      = "claim"
	waitingClass = "waiting"
	noClass      = "\x00none"
)

// Provisioner makes volumes.
type Provisioner interface {
	// Provision makes a volume for a claim, or asks others to. What comes of it shows in the informers.
	Provision(ctx context.Context, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error
}

// Controller binds claims and volumes.
type Controller struct {
	client  *client.Client
	events  *events.Recorder
	make    Provisioner
	claims  *informer.Informer[*corev1.PersistentVolumeClaim]
	volumes *informer.Informer[*corev1.PersistentVolume]
	classes *informer.Informer[*storagev1.StorageClass]
	pods    usage.Pods

	claimQueue, volumeQueue *reconcile.Controller
}

// New returns the controller; the set may not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, p Provisioner, log *zap.Logger) *Controller {
	b := &Controller{
		client: c, events: recorder.As("persistentvolume-controller"), make: p,
		claims: informer.For[*corev1.PersistentVolumeClaim](set), volumes: informer.For[*corev1.PersistentVolume](set),
		classes: informer.For[*storagev1.StorageClass](set), pods: usage.New(set),
	}
	b.claimQueue = reconcile.New("persistentvolumeclaim-binder", workers, b.reconcileClaim, log)
	b.volumeQueue = reconcile.New("persistentvolume-binder", workers, b.reconcileVolume, log)
	b.index()
	b.claims.OnChange(b.claimChanged)
	b.volumes.OnChange(b.volumeChanged)
	b.classes.OnChange(func(_, now *storagev1.StorageClass) {
		if now == nil {
			return
		}
		b.lookAgain(now.Name)
		if volume.IsDefault(now) {
			b.lookAgain(noClass)
		}
	})
	return b
}

func (b *Controller) index() {
	b.volumes.AddIndex(byClass, func(v *corev1.PersistentVolume) []string { return []string{volume.ClassOfVolume(v)} })
	b.volumes.AddIndex(byClaim, func(v *corev1.PersistentVolume) []string {
		if ref := v.Spec.ClaimRef; ref != nil {
			return []string{informer.Key{Namespace: ref.Namespace, Name: ref.Name}.String()}
		}
		return nil
	})
	b.claims.AddIndex(waitingClass, func(c *corev1.PersistentVolumeClaim) []string {
		if volume.IsBound(c) {
			return nil
		}
		if name, said := volume.ClassOfClaim(c); said {
			return []string{name}
		}
		return []string{noClass, ""}
	})
}

// Run works until ctx ends.
func (b *Controller) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return b.claimQueue.Run(ctx) })
	g.Go(func() error { return b.volumeQueue.Run(ctx) })
	return g.Wait()
}

func (b *Controller) claimChanged(old, now *corev1.PersistentVolumeClaim) {
	if now != nil {
		b.claimQueue.Enqueue(informer.KeyOf(now))
		return
	}
	for _, v := range b.volumes.ByIndex(byClaim, informer.KeyOf(old).String()) {
		b.volumeQueue.Enqueue(informer.KeyOf(v))
	}
}

func (b *Controller) volumeChanged(old, now *corev1.PersistentVolume) {
	for _, v := range []*corev1.PersistentVolume{old, now} {
		if v != nil && v.Spec.ClaimRef != nil {
			b.claimQueue.Enqueue(informer.Key{Namespace: v.Spec.ClaimRef.Namespace, Name: v.Spec.ClaimRef.Name})
		}
	}
	if now == nil {
		return
	}
	b.volumeQueue.Enqueue(informer.KeyOf(now))
	if now.Spec.ClaimRef == nil && now.Status.Phase == corev1.VolumeAvailable {
		b.lookAgain(volume.ClassOfVolume(now))
	}
}

// lookAgain wakes the claims of a class that have no volume.
func (b *Controller) lookAgain(class string) {
	for _, c := range b.claims.ByIndex(waitingClass, class) {
		b.claimQueue.Enqueue(informer.KeyOf(c))
	}
}

func (b *Controller) reconcileClaim(ctx context.Context, key informer.Key) (time.Duration, error) {
	c, ok := b.claims.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	look := lookup{ctx: ctx, Controller: b}
	plan := planClaim(c, look.world())
	if look.err != nil {
		return 0, look.err
	}
	if plan.note != nil {
		b.events.Event(c, plan.note.kind, plan.note.reason, "%s", plan.note.message)
	}
	switch {
	case plan.bind != nil:
		if err := b.bind(ctx, c, plan.bind); err != nil {
			return 0, err
		}
		return 0, b.grow(ctx, c, plan.bind)
	case plan.provision != nil:
		return 0, b.make.Provision(ctx, c, plan.provision)
	case plan.class != "":
		next := c.DeepCopy()
		next.Spec.StorageClassName = &plan.class
		if err := b.client.Update(ctx, next); err != nil {
			return 0, fmt.Errorf("give claim %s the default class: %w", key, err)
		}
	case plan.phase != "" && plan.phase != c.Status.Phase:
		next := c.DeepCopy()
		next.Status.Phase = plan.phase
		if err := b.client.UpdateStatus(ctx, next); err != nil {
			return 0, fmt.Errorf("update the status of claim %s: %w", key, err)
		}
	}
	return 0, nil
}

func (b *Controller) reconcileVolume(ctx context.Context, key informer.Key) (time.Duration, error) {
	v, ok := b.volumes.Get("", key.Name)
	if !ok {
		return 0, nil
	}
	look := lookup{ctx: ctx, Controller: b}
	plan := planVolume(v, look.world())
	if look.err != nil {
		return 0, look.err
	}
	if plan.look != nil {
		b.claimQueue.Enqueue(informer.KeyOf(plan.look))
	}
	if plan.unbind {
		if err := b.client.Update(ctx, unbound(v)); err != nil {
			return 0, fmt.Errorf("unbind volume %s: %w", v.Name, err)
		}
		return 0, nil
	}
	message := ""
	if plan.note != nil {
		message = plan.note.message
		b.events.Event(v, plan.note.kind, plan.note.reason, "%s", plan.note.message)
	}
	if err := b.setVolumePhase(ctx, v, plan.phase, plan.reason, message); err != nil {
		return 0, err
	}
	if !plan.remove {
		return 0, nil
	}
	err := b.client.Delete(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: v.Name}}, client.DeleteOptions{UID: v.UID})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("delete volume %s: %w", v.Name, err)
	}
	return 0, nil
}

// setVolumePhase writes a volume's phase where it differs.
func (b *Controller) setVolumePhase(ctx context.Context, v *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, reason, message string) error {
	if phase == v.Status.Phase {
		return nil
	}
	next := v.DeepCopy()
	now := metav1.Now()
	next.Status = corev1.PersistentVolumeStatus{Phase: phase, Reason: reason, Message: message, LastPhaseTransitionTime: &now}
	if err := b.client.UpdateStatus(ctx, next); err != nil {
		return fmt.Errorf("update the status of volume %s: %w", v.Name, err)
	}
	return nil
}
