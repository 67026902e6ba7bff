package server

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry"
)

var metadataPath = field.NewPath("metadata")

func (r *request) invalid(errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(r.GroupKind(), r.name, errs)
}

// validateNew checks an object that is about to be created.
func (r *request) validateNew(obj registry.Object) error {
	errs := validation.ValidateObjectMetaAccessor(obj, r.Namespaced, r.ValidateName, metadataPath)
	errs = append(errs, r.Validate(obj)...)
	return r.invalid(append(errs, r.ValidateCreate(obj)...))
}

// validateUpdate checks an object that is about to replace old; part checks what is particular to a subresource, nil
// for the object as a whole.
func (r *request) validateUpdate(obj, old registry.Object, part func(obj, old registry.Object) field.ErrorList) error {
	errs := validation.ValidateObjectMetaAccessorUpdate(obj, old, metadataPath)
	if part != nil {
		return r.invalid(append(errs, part(obj, old)...))
	}
	errs = append(errs, r.Validate(obj)...)
	return r.invalid(append(errs, r.ValidateUpdate(obj, old)...))
}

// keepSystemFields gives obj the metadata that clients do not set.
func keepSystemFields(obj, old registry.Object) {
	obj.SetGeneration(old.GetGeneration())
	obj.SetSelfLink("")
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	if created := obj.GetCreationTimestamp(); created.IsZero() {
		obj.SetCreationTimestamp(old.GetCreationTimestamp())
	}
	// A deletion that was accepted stays.
	if old.GetDeletionTimestamp() != nil && obj.GetDeletionTimestamp() == nil {
		obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	}
	if old.GetDeletionGracePeriodSeconds() != nil && obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	}
	// Nobody but a delete marks an object as terminating.
	if old.GetDeletionTimestamp() == nil {
		obj.SetDeletionTimestamp(nil)
		obj.SetDeletionGracePeriodSeconds(nil)
	}
	created := obj.GetCreationTimestamp()
	if was := old.GetCreationTimestamp(); created.Time.Equal(was.Time) {
		obj.SetCreationTimestamp(metav1.Time{Time: was.Time})
	}
}
