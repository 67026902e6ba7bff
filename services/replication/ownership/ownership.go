// Package ownership decides which objects belong to a controller, by their controller reference and its selector, and
// takes them over or lets them go.
package ownership

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
)

// index is the informer index that Track adds.
const index = "controller"

// Track makes Controlled and Orphans work on an informer. Call it before the informer runs.
func Track[T client.Object](i *informer.Informer[T]) {
	i.AddIndex(index, func(obj T) []string {
		if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
			return []string{string(ref.UID)}
		}
		return []string{orphanOf(obj.GetNamespace())}
	})
}

// orphanOf is no UID: those have no slash.
func orphanOf(namespace string) string { return "none/" + namespace }

// Controlled returns the objects whose controller has the UID.
func Controlled[T client.Object](i *informer.Informer[T], owner types.UID) []T {
	return i.ByIndex(index, string(owner))
}

// Orphans returns the objects of a namespace without a controller.
func Orphans[T client.Object](i *informer.Informer[T], namespace string) []T {
	return i.ByIndex(index, orphanOf(namespace))
}

// Decision is what belongs to a controller and what has to change.
type Decision[T client.Object] struct {
	// Own has the owner's reference and matches its selector.
	Own []T
	// Adopt has no controller and matches: it belongs to the owner once it carries its reference.
	Adopt []T
	// Release has the owner's reference but no longer matches.
	Release []T
	// Finalizer, when set, is put on what is adopted and taken off what is released, in the same write.
	Finalizer string
}

// Decide sorts the objects that refer to owner and the orphans of its namespace. An owner that is being deleted takes
// and releases nothing.
func Decide[T client.Object](owner client.Object, selector labels.Selector, controlled, orphans []T) Decision[T] {
	var d Decision[T]
	leaving := owner.GetDeletionTimestamp() != nil
	for _, obj := range controlled {
		switch matches := selector.Matches(labels.Set(obj.GetLabels())); {
		case matches:
			d.Own = append(d.Own, obj)
		case !leaving:
			d.Release = append(d.Release, obj)
		}
	}
	for _, obj := range orphans {
		if !leaving && obj.GetDeletionTimestamp() == nil && selector.Matches(labels.Set(obj.GetLabels())) {
			d.Adopt = append(d.Adopt, obj)
		}
	}
	return d
}

// Apply carries a decision out and returns everything that belongs to owner now; stored is told of each object that
// was written. Fresh reads the owner anew: nothing is adopted by an owner that was deleted meanwhile.
func Apply[T client.Object](ctx context.Context, c *client.Client, owner client.Object, d Decision[T], fresh client.Object, stored func(T)) ([]T, error) {
	own := d.Own
	if len(d.Adopt) > 0 {
		if err := stillThere(ctx, c, owner, fresh); err != nil {
			return own, err
		}
	}
	for _, obj := range d.Adopt {
		adopted, err := adopt(ctx, c, owner, obj, d.Finalizer)
		if gone(err) {
			continue // deleted, or made anew under the same name: not the object that was decided about
		}
		if err != nil {
			return own, err
		}
		stored(adopted)
		own = append(own, adopted)
	}
	for _, obj := range d.Release {
		released, err := release(ctx, c, owner, obj, d.Finalizer)
		if gone(err) {
			continue
		}
		if err != nil {
			return own, err
		}
		stored(released)
	}
	return own, nil
}

func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

func stillThere(ctx context.Context, c *client.Client, owner, fresh client.Object) error {
	if err := c.Get(ctx, fresh, owner.GetNamespace(), owner.GetName()); err != nil {
		return fmt.Errorf("adopt for %s: %w", owner.GetName(), err)
	}
	if fresh.GetUID() != owner.GetUID() || fresh.GetDeletionTimestamp() != nil {
		return fmt.Errorf("adopt for %s: it is being deleted", owner.GetName())
	}
	return nil
}

// Reference returns the controller reference to owner.
func Reference(owner client.Object) (metav1.OwnerReference, error) {
	gvk, err := client.KindOf(owner)
	if err != nil {
		return metav1.OwnerReference{}, err
	}
	return *metav1.NewControllerRef(owner, gvk), nil
}

func adopt[T client.Object](ctx context.Context, c *client.Client, owner client.Object, obj T, finalizer string) (T, error) {
	ref, err := Reference(owner)
	if err != nil {
		return obj, err
	}
	return patchOwners(ctx, c, obj, "adopt", ref, "finalizers", finalizer)
}

func release[T client.Object](ctx context.Context, c *client.Client, owner client.Object, obj T, finalizer string) (T, error) {
	return patchOwners(ctx, c, obj, "release", map[string]any{"$patch": "delete", "uid": owner.GetUID()}, "$deleteFromPrimitiveList/finalizers", finalizer)
}

// patchOwners changes one owner reference and, unless it is empty, a finalizer. The uid makes the API refuse when the
// name is another object's by now.
func patchOwners[T client.Object](ctx context.Context, c *client.Client, obj T, verb string, entry any, directive, finalizer string) (T, error) {
	change := map[string]any{"uid": obj.GetUID(), "ownerReferences": []any{entry}}
	if finalizer != "" {
		change[directive] = []string{finalizer}
	}
	body, err := json.Marshal(map[string]any{"metadata": change})
	if err != nil {
		return obj, fmt.Errorf("%s %s: %w", verb, obj.GetName(), err)
	}
	out := obj.DeepCopyObject().(T)
	if err := c.Patch(ctx, out, types.StrategicMergePatchType, body, ""); err != nil {
		return obj, fmt.Errorf("%s %s: %w", verb, obj.GetName(), err)
	}
	return out, nil
}
