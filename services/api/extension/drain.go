package extension

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/watch"
)

// drainDying begins to delete the objects of definitions that are deleted, and stops where a definition has gone.
func (f *follower) drainDying(ctx context.Context, all []*known) {
	dying := map[types.UID]bool{}
	for _, d := range all {
		if d.DeletionTimestamp == nil || !slices.Contains(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
			continue
		}
		dying[d.UID] = true
		if f.draining[d.UID] != nil {
			continue
		}
		drain, stop := context.WithCancel(ctx)
		f.draining[d.UID] = stop
		f.wait.Go(func() { f.x.drain(drain, d.definition) })
	}
	for uid, stop := range f.draining {
		if !dying[uid] {
			stop()
			delete(f.draining, uid)
		}
	}
}

// drain deletes a definition's objects and, when the last has gone, lets the definition go. It tries until ctx ends.
func (x *Extensions) drain(ctx context.Context, d *definition) {
	for delay := minRetry; ctx.Err() == nil; delay = min(2*delay, maxRetry) {
		err := x.drainOnce(ctx, d)
		if err == nil || ctx.Err() != nil {
			return
		}
		x.log.Warn("the objects of a CustomResourceDefinition could not be deleted, trying again", zap.String("definition", d.Name), zap.Error(err))
		select {
		case <-time.After(delay/2 + rand.N(delay)):
		case <-ctx.Done():
		}
	}
}

func (x *Extensions) drainOnce(ctx context.Context, d *definition) error {
	kind, ok := anyServed(d)
	if ok && x.config.Resources.Collection(kind) != nil {
		if err := x.mark(ctx, d, "InstanceDeletionInProgress", "CustomResource deletion is in progress", false); err != nil {
			return err
		}
		if err := x.empty(ctx, kind); err != nil {
			return err
		}
	}
	return x.mark(ctx, d, "InstanceDeletionCompleted", "removed all instances", true)
}

// anyServed returns one of a definition's kinds: they share their objects. That in which they are stored is the first
// choice, since it needs no conversion.
func anyServed(d *definition) (kind schema.GroupVersionKind, ok bool) {
	for i := range d.Spec.Versions {
		if v := &d.Spec.Versions[i]; v.Served && (!ok || v.Storage) {
			kind, ok = schema.GroupVersionKind{Group: d.Spec.Group, Version: v.Name, Kind: d.Status.AcceptedNames.Kind}, true
		}
	}
	return kind, ok
}

// empty deletes all objects of a kind and waits for those that finalizers keep.
func (x *Extensions) empty(ctx context.Context, kind schema.GroupVersionKind) error {
	collection := x.config.Resources.Collection(kind)
	w, err := collection.Watch(ctx, watch.WatchOptions{SendInitial: true, InitialEnd: true})
	if err != nil {
		return fmt.Errorf("watch %s: %w", kind.Kind, err)
	}
	defer w.Stop()
	if err := x.config.Resources.DeleteAll(ctx, kind); err != nil {
		return fmt.Errorf("delete every %s: %w", kind.Kind, err)
	}
	for collection.Len() > 0 {
		events, err := w.Next(ctx)
		if err != nil {
			return fmt.Errorf("watch %s: %w", kind.Kind, err)
		}
		for _, ev := range events {
			// One that was being made when the definition was deleted.
			if ev.Type == watch.Added {
				if err := x.config.Resources.DeleteAll(ctx, kind); err != nil {
					return fmt.Errorf("delete every %s: %w", kind.Kind, err)
				}
				break
			}
		}
	}
	return nil
}

// mark tells in the definition's status how far its deletion is; done lets it go.
func (x *Extensions) mark(ctx context.Context, d *definition, reason, message string, done bool) error {
	c := condition{Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: reason, Message: message}
	if done {
		c.Status = apiextensionsv1.ConditionFalse
	}
	err := errors.Join(x.config.Resources.Batch(ctx, gvkDefinition, []server.Change{{Name: d.Name, Do: func(old registry.Object) (server.Outcome, error) {
		next := old.(*definition)
		if next.UID != d.UID {
			return server.Outcome{Next: next}, nil
		}
		v := verdict{status: next.Status}
		v.set(c)
		next.Status = v.status
		if done {
			next.Finalizers = slices.DeleteFunc(next.Finalizers, func(name string) bool { return name == apiextensionsv1.CustomResourceCleanupFinalizer })
		}
		return server.Outcome{Next: next}, nil
	}}})...)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store how far the deletion is: %w", err)
	}
	return nil
}
