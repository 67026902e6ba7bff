// Package garbage deletes objects whose owners have gone, and lets go of owners whose dependents have.
package garbage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
	"karve.dev/karve/services/lifecycle/inventory"
)

const (
	workers = 8
	// parallel bounds the calls about the dependents of one object.
	parallel = 8
	// settle is how long an object may be known before its owner: their kinds are followed one by one.
	settle = 200 * time.Millisecond
	// undecided is when an object is looked at again whose owner's kind is not served.
	undecided = 10 * time.Minute
)

// Controller is the garbage collector.
type Controller struct {
	inventory *inventory.Inventory
	log       *zap.Logger
	queue     *reconcile.Controller
	gone      *absentees
}

// New returns a collector over inventory, which must not run yet.
func New(inv *inventory.Inventory, log *zap.Logger) *Controller {
	c := &Controller{inventory: inv, log: log.Named("garbage"), gone: newAbsentees(maxAbsentees)}
	c.queue = reconcile.New("garbage", workers, c.reconcile, log)
	inv.OnChange(c.observe)
	return c
}

// Run collects until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.inventory.WaitSynced(ctx); err != nil {
		return nil
	}
	return c.queue.Run(ctx)
}

// key is a uid in the queue's terms.
func key(uid string) informer.Key { return informer.Key{Name: uid} }

// observe wakes whomever a change may concern. It may be wrong: reconcile looks for itself.
func (c *Controller) observe(old, new *inventory.Object) {
	switch {
	case new == nil:
		dependents := c.inventory.Dependents(old.UID)
		if len(dependents) > 0 {
			c.gone.add(old.UID)
		}
		c.wake(dependents)
		c.wakeOwners(old)
	case new.Deleting:
		if old == nil || !old.Deleting || !slices.Equal(old.Finalizers, new.Finalizers) {
			c.observeDeleting(new)
		}
		if old != nil {
			c.wakeOwners(old)
		}
	default:
		c.gone.remove(new.UID)
		c.observeLiving(new)
		if old != nil && len(old.Owners) > 0 {
			c.wakeOwners(old)
		}
	}
}

func (c *Controller) observeDeleting(o *inventory.Object) {
	if inForeground(o) {
		c.wake(c.inventory.Dependents(o.UID))
	}
	if inForeground(o) || slices.Contains(o.Finalizers, metav1.FinalizerOrphanDependents) {
		c.queue.Enqueue(key(o.UID))
	}
}

func (c *Controller) observeLiving(o *inventory.Object) {
	for _, ref := range o.Owners {
		switch owner := c.inventory.Get(ref.UID); {
		case owner == nil && c.gone.has(ref.UID), owner != nil && inForeground(owner), owner != nil && !names(ref, o, owner):
			c.queue.Enqueue(key(o.UID))
		case owner == nil:
			c.queue.EnqueueAfter(key(o.UID), settle)
		}
	}
}

func (c *Controller) wake(objects []*inventory.Object) {
	for _, o := range objects {
		c.queue.Enqueue(key(o.UID))
	}
}

// wakeOwners wakes the owners that wait for o.
func (c *Controller) wakeOwners(o *inventory.Object) {
	for _, ref := range o.Owners {
		if owner := c.inventory.Get(ref.UID); owner != nil && owner.Deleting {
			c.queue.Enqueue(key(ref.UID))
		}
	}
}

func (c *Controller) reconcile(ctx context.Context, k informer.Key) (time.Duration, error) {
	o := c.inventory.Get(k.Name)
	if o == nil {
		return 0, nil
	}
	v := view{object: o, dependents: c.inventory.Dependents(o.UID)}
	again := time.Duration(0)
	if !o.Deleting {
		for _, ref := range o.Owners {
			s, err := c.standing(ctx, o, ref)
			if err != nil {
				return 0, fmt.Errorf("owner %s %s of %s: %w", ref.Kind, ref.Name, describe(o), err)
			}
			if s == unknown {
				again = undecided
			}
			v.owners = append(v.owners, s)
		}
	}
	err := c.carryOut(ctx, o, v.dependents, decide(v))
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("collect %s: %w", describe(o), err)
	}
	return again, nil
}

func describe(o *inventory.Object) string {
	return fmt.Sprintf("%s %s", o.Kind.Kind, informer.Key{Namespace: o.Namespace, Name: o.Name})
}

// names reports whether ref, which object holds, names owner by all that it says.
func names(ref inventory.Owner, object, owner *inventory.Object) bool {
	return ref.Name == owner.Name && ref.Kind == owner.Kind.Kind && (owner.Namespace == "" || owner.Namespace == object.Namespace)
}

// standing finds out about an owner: from the inventory when it is there, else from the API, because it may be newer
// than what the inventory knows.
func (c *Controller) standing(ctx context.Context, o *inventory.Object, ref inventory.Owner) (standing, error) {
	owner := c.inventory.Get(ref.UID)
	if owner != nil && names(ref, o, owner) {
		if inForeground(owner) {
			return waiting, nil
		}
		return present, nil
	}
	if owner == nil && c.gone.has(ref.UID) {
		return absent, nil
	}
	kind := c.inventory.Lookup(ref.APIVersion, ref.Kind)
	if kind == nil || kind.Namespaced && o.Namespace == "" {
		return unknown, nil
	}
	namespace := ""
	if kind.Namespaced {
		namespace = o.Namespace
	}
	found, err := c.inventory.Metadata(ctx, kind.APIVersion(), kind.Kind, namespace, ref.Name)
	switch {
	case apierrors.IsNotFound(err) || err == nil && string(found.UID) != ref.UID:
		if owner == nil {
			c.gone.add(ref.UID)
		}
		return absent, nil
	case err != nil:
		return unknown, err
	case found.DeletionTimestamp != nil && slices.Contains(found.Finalizers, metav1.FinalizerDeleteDependents):
		return waiting, nil
	}
	return present, nil
}

func (c *Controller) carryOut(ctx context.Context, o *inventory.Object, dependents []*inventory.Object, s step) error {
	if s.orphan {
		if err := c.orphan(ctx, o, dependents); err != nil {
			return err
		}
	}
	c.wake(s.collect)
	if s.unblock {
		if err := c.patchOwners(ctx, o, unblocked); err != nil {
			return err
		}
	}
	if len(s.dropOwners) > 0 {
		if err := c.patchOwners(ctx, o, without(s.dropOwners)); err != nil {
			return err
		}
	}
	if s.remove {
		if err := c.remove(ctx, o, s.policy); err != nil {
			return err
		}
	}
	if s.dropFinalizer != "" {
		return c.inventory.PatchMetadata(ctx, o, func(m *metav1.ObjectMeta) map[string]any { return withoutFinalizer(m, s.dropFinalizer) })
	}
	return nil
}

// orphan lets go of all dependents, so that they survive their owner.
func (c *Controller) orphan(ctx context.Context, o *inventory.Object, dependents []*inventory.Object) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, d := range dependents {
		g.Go(func() error {
			err := c.patchOwners(ctx, d, without([]string{o.UID}))
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// remove deletes an object that still has the owners that the decision was made about.
func (c *Controller) remove(ctx context.Context, o *inventory.Object, policy metav1.DeletionPropagation) error {
	now, err := c.inventory.Metadata(ctx, o.Kind.APIVersion(), o.Kind.Kind, o.Namespace, o.Name)
	if err != nil {
		return err
	}
	if string(now.UID) != o.UID || now.DeletionTimestamp != nil || !sameOwners(now.OwnerReferences, o.Owners) {
		// The inventory will hear of it, and wake this key.
		return nil
	}
	c.log.Debug("collecting", zap.String("object", describe(o)), zap.String("propagation", string(policy)))
	return c.inventory.Delete(ctx, o, policy, now.ResourceVersion)
}

func sameOwners(refs []metav1.OwnerReference, owners []inventory.Owner) bool {
	return slices.EqualFunc(refs, owners, func(r metav1.OwnerReference, o inventory.Owner) bool { return string(r.UID) == o.UID })
}
