package authz

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/admission"
)

// checkOwners refuses owner references that would let somebody delete, or keep from being deleted, what he may not: who
// gives an object an owner must be able to delete the object, and who makes it block its owner's deletion must be able to
// set the owner's finalizers.
func (a *Authorizer) checkOwners(ctx context.Context, w *admission.Attributes) error {
	if w.Part.Kind != "" || w.Subresource == "status" && w.Is("", "Pod") || slices.Contains(w.User.Groups, identity.GroupMasters) {
		return nil
	}
	now := w.Object.GetOwnerReferences()
	var was []metav1.OwnerReference
	if w.Old != nil {
		was = w.Old.GetOwnerReferences()
	}
	if len(now) == 0 && len(was) == 0 || slices.EqualFunc(now, was, sameOwner) {
		return nil
	}
	forbidden := func(format string, args ...any) error {
		return apierrors.NewForbidden(w.GroupResource(), w.Name, fmt.Errorf(format, args...))
	}
	if w.Operation != admission.Create {
		allowed, reason, err := a.Authorize(ctx, Attributes{
			User: w.User, Verb: "delete", Group: w.Kind.Group, Version: w.Kind.Version, Resource: w.Kind.Resource,
			Subresource: w.Subresource, Namespace: w.Namespace, Name: w.Name,
		})
		if !allowed {
			return forbidden("cannot set an ownerRef on a resource you can't delete: %v, %v", reason, err)
		}
	}
	blocking := newlyBlocking(now, was)
	if len(blocking) == 0 {
		return nil
	}
	anything := Attributes{User: w.User, Verb: "update", Group: "*", Version: "*", Resource: "*", Subresource: "finalizers", Name: "*"}
	if allowed, _, err := a.Authorize(ctx, anything); allowed && err == nil {
		return nil
	}
	for _, ref := range blocking {
		attrs, err := a.finalizersOf(ref, w)
		if err != nil {
			return forbidden("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %s Kind %s: %v", ref.APIVersion, ref.Kind, err)
		}
		if allowed, reason, err := a.Authorize(ctx, attrs); !allowed {
			return forbidden("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %v, %v", reason, err)
		}
	}
	return nil
}

func sameOwner(a, b metav1.OwnerReference) bool {
	return a.APIVersion == b.APIVersion && a.Kind == b.Kind && a.Name == b.Name && a.UID == b.UID &&
		ptr.Equal(a.Controller, b.Controller) && ptr.Equal(a.BlockOwnerDeletion, b.BlockOwnerDeletion)
}

// newlyBlocking are the references that keep an owner from being deleted and did not before.
func newlyBlocking(now, was []metav1.OwnerReference) (out []metav1.OwnerReference) {
	blocks := func(ref metav1.OwnerReference) bool { return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion }
	for _, ref := range now {
		before := slices.ContainsFunc(was, func(old metav1.OwnerReference) bool { return old.UID == ref.UID && blocks(old) })
		if blocks(ref) && !before {
			out = append(out, ref)
		}
	}
	return out
}

// finalizersOf is the right to set the finalizers of an owner.
func (a *Authorizer) finalizersOf(ref metav1.OwnerReference, w *admission.Attributes) (Attributes, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return Attributes{}, err
	}
	if a.kinds == nil {
		return Attributes{}, fmt.Errorf("no matches for kind %q in version %q", ref.Kind, ref.APIVersion)
	}
	kind, ok := a.kinds(gv.WithKind(ref.Kind))
	if !ok {
		return Attributes{}, fmt.Errorf("no matches for kind %q in version %q", ref.Kind, ref.APIVersion)
	}
	attrs := Attributes{User: w.User, Verb: "update", Group: gv.Group, Version: gv.Version, Resource: kind.Resource, Subresource: "finalizers", Name: ref.Name}
	if kind.Namespaced {
		attrs.Namespace = w.Namespace
	}
	return attrs, nil
}
