// Package provision makes volumes for claims: local folders by itself, others by asking whoever makes them.
package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/events"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/internal/volume"
)

const byNode = "node"

// Controller makes volumes. Run gives up those whose node is gone: nobody can remove their folders any more.
type Controller struct {
	client  *client.Client
	events  *events.Recorder
	nodes   *informer.Informer[*corev1.Node]
	volumes *informer.Informer[*corev1.PersistentVolume]
	queue   *reconcile.Controller
}

// New returns the controller; the set may not run yet.
func New(c *client.Client, set *informer.Set, recorder *events.Recorder, log *zap.Logger) *Controller {
	p := &Controller{client: c, events: recorder, nodes: informer.For[*corev1.Node](set), volumes: informer.For[*corev1.PersistentVolume](set)}
	p.queue = reconcile.New("local-folders", 1, p.abandon, log)
	p.volumes.AddIndex(byNode, func(v *corev1.PersistentVolume) []string {
		if node := v.Labels[volume.NodeLabel]; node != "" {
			return []string{node}
		}
		return nil
	})
	p.volumes.OnChange(func(_, now *corev1.PersistentVolume) {
		if now != nil && now.DeletionTimestamp != nil {
			p.queue.Enqueue(informer.KeyOf(now))
		}
	})
	p.nodes.OnChange(func(old, now *corev1.Node) {
		if now != nil {
			return
		}
		for _, v := range p.volumes.ByIndex(byNode, old.Name) {
			p.queue.Enqueue(informer.KeyOf(v))
		}
	})
	return p
}

// Run works until ctx ends.
func (p *Controller) Run(ctx context.Context) error { return p.queue.Run(ctx) }

// Provision makes a volume for a claim, or asks others to.
func (p *Controller) Provision(ctx context.Context, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	if class.Provisioner != volume.LocalProvisioner {
		return p.ask(ctx, c, class)
	}
	recorder := p.events.As(volume.LocalProvisioner)
	if why := refusal(c); why != nil {
		recorder.Event(c, corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: %v", class.Name, why)
		return nil
	}
	selected := c.Annotations[volume.SelectedNode]
	n := choose(selected, p.nodes.List("", nil), p.volumes.List("", nil))
	switch {
	case n == nil && selected != "":
		return p.deselect(ctx, c, selected)
	case n == nil || n.Annotations[volume.FoldersAnnotation] == "":
		recorder.Event(c, corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: no node is ready to keep it", class.Name)
		return errors.New("no node is ready to keep a volume")
	}
	recorder.Event(c, corev1.EventTypeNormal, "Provisioning", "External provisioner is provisioning volume for claim \"%s/%s\"", c.Namespace, c.Name)
	v := folder(c, class, n)
	if err := p.client.Create(ctx, v); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return nil // and the informer is about to show it
		}
		recorder.Event(c, corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: %v", class.Name, err)
		return fmt.Errorf("make volume %s: %w", v.Name, err)
	}
	recorder.Event(c, corev1.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume %s", v.Name)
	return nil
}

// ask names, on the claim, whoever is to make its volume.
func (p *Controller) ask(ctx context.Context, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	p.events.As("persistentvolume-controller").Event(c, corev1.EventTypeNormal, "ExternalProvisioning",
		"Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
			"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", class.Provisioner)
	if c.Annotations[volume.StorageProvisioner] == class.Provisioner {
		return nil
	}
	next := c.DeepCopy()
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	next.Annotations[volume.StorageProvisioner], next.Annotations[volume.BetaStorageProvisioner] = class.Provisioner, class.Provisioner
	if err := p.client.Update(ctx, next); err != nil {
		return fmt.Errorf("name the provisioner of claim %s: %w", informer.KeyOf(c), err)
	}
	return nil
}

// deselect lets the scheduler choose again when the node that it has selected is gone.
func (p *Controller) deselect(ctx context.Context, c *corev1.PersistentVolumeClaim, node string) error {
	err := p.client.Get(ctx, &corev1.Node{}, "", node)
	if err == nil {
		return fmt.Errorf("node %s is not known here yet", node)
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for node %s: %w", node, err)
	}
	next := c.DeepCopy()
	delete(next.Annotations, volume.SelectedNode)
	if err := p.client.Update(ctx, next); err != nil {
		return fmt.Errorf("give up node %s for claim %s: %w", node, informer.KeyOf(c), err)
	}
	return nil
}

// abandon lets a deleted volume go whose node no longer exists.
func (p *Controller) abandon(ctx context.Context, key informer.Key) (time.Duration, error) {
	v, ok := p.volumes.Get("", key.Name)
	if !ok || v.DeletionTimestamp == nil || !slices.Contains(v.Finalizers, volume.FolderFinalizer) {
		return 0, nil
	}
	node := v.Labels[volume.NodeLabel]
	if _, ok := p.nodes.Get("", node); ok {
		return 0, nil
	}
	if err := p.client.Get(ctx, &corev1.Node{}, "", node); node != "" && !apierrors.IsNotFound(err) {
		return time.Minute, err
	}
	next := v.DeepCopy()
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == volume.FolderFinalizer })
	if err := p.client.Update(ctx, next); err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("let volume %s go: %w", v.Name, err)
	}
	return 0, nil
}
