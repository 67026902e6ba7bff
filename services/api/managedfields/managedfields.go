// Package managedfields keeps the record of who set which fields of an object (metadata.managedFields), and merges
// what server-side apply wants into an object by that record.
//
// The record costs: to compare two versions of a pod field by field takes about as long as everything else that a write
// does, and it makes a small object twice as large. So only objects that people own are recorded: those that were
// created by somebody who names himself as their field manager (kubectl and Helm do), and those that were applied at
// least once. Everything that is nobody's configuration, above all what Karve's own controllers and nodes make by the
// thousand, goes without; at the first apply the fields that are there then are recorded under "before-first-apply", as
// Kubernetes does with objects that have no record. What nodes report in batches and the binding of a pod change no record
// either. The schema by which lists are merged is read when the first write needs it.
package managedfields

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apimachinery/pkg/util/managedfields"

	"karve.dev/karve/services/api/registry"
)

// Write is one write of an object, as far as its record is concerned.
type Write struct {
	// Kind is the object's, Subresource the part that is written: empty for the object itself.
	Kind        *registry.Kind
	Subresource string
	// Manager is the writer's name as a field manager; empty counts as "unknown".
	Manager string
	// Starts makes a create begin a record. An object that has one keeps it whoever writes.
	Starts bool
}

// Tracker keeps records. Its zero value is ready, and safe for concurrent use.
type Tracker struct {
	// Schema returns the schema of a kind whose objects are maps (a custom kind); nil, or a function that returns nil,
	// merges such objects without one: maps field by field, lists as a whole. Objects reach it as
	// *unstructured.Unstructured.
	Schema func(k *registry.Kind) upstream.TypeConverter

	once    sync.Once
	builtin upstream.TypeConverter
	// known are the converters of the kinds of Go types that have been written.
	known sync.Map
}

// Created records the author of an object that is about to be created.
func (t *Tracker) Created(w Write, obj registry.Object) {
	if !w.Starts && len(obj.GetManagedFields()) == 0 {
		obj.SetManagedFields(nil)
		return
	}
	t.record(w, obj, w.Kind.New())
}

// Updated records the author of the differences between old and obj, which is about to replace it. What obj itself says
// about its managed fields counts: clients may change the record, or reset it by an empty list.
func (t *Tracker) Updated(w Write, obj, old registry.Object) {
	if len(obj.GetManagedFields()) == 0 && len(old.GetManagedFields()) == 0 {
		obj.SetManagedFields(nil)
		return
	}
	t.record(w, obj, old)
}

func (t *Tracker) record(w Write, obj, old registry.Object) {
	m, err := t.manager(w)
	if err != nil {
		obj.SetManagedFields(old.GetManagedFields())
		return
	}
	was := w.Kind.New()
	if old.GetUID() != "" {
		was = old
	}
	// A record that cannot be kept never stops a write.
	m.UpdateNoErrors(was, obj, w.Manager)
	unmark(was, obj)
}

// Apply merges what the writer wants into live, an empty object for a create, and returns the result with its record;
// live may be changed. Fields that others own and that would change are a conflict, unless force takes them over.
func (t *Tracker) Apply(w Write, live registry.Object, patch *Patch, force bool) (registry.Object, error) {
	m, err := t.manager(w)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	out, err := m.Apply(live, patch.object.DeepCopy(), w.Manager, force)
	if err != nil {
		return nil, refusal(err)
	}
	obj, ok := out.(registry.Object)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("apply made a %T", out))
	}
	unmark(live, obj)
	return obj, nil
}

// refusal is an error in the form of Kubernetes, which gives the status code 500 to whatever does not fit the schema.
func refusal(err error) error {
	var known apierrors.APIStatus
	if errors.As(err, &known) {
		return err
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error(),
	}}
}

// unmark empties what the field manager needs to know a kind by; inside the API an object's Go type tells.
func unmark(objects ...registry.Object) {
	for _, o := range objects {
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
}

// manager makes what upstream does the work with; it is cheap.
func (t *Tracker) manager(w Write) (*upstream.FieldManager, error) {
	k := w.Kind
	c := &converter{k}
	return upstream.NewDefaultFieldManager(t.typesOf(k), c, c, c, k.GroupVersionKind, k.GroupVersion(), w.Subresource, foreign(w))
}

// Settle gives obj the record of old when they differ in nothing but the times of the record, so that a write that
// changes nothing stays one.
func Settle(obj, old registry.Object) {
	now, was := obj.GetManagedFields(), old.GetManagedFields()
	if len(now) == 0 || !slices.EqualFunc(now, was, sameEntry) || slices.EqualFunc(now, was, sameTime) {
		return
	}
	obj.SetManagedFields(was)
	if !equality.Semantic.DeepEqual(obj, old) {
		obj.SetManagedFields(now)
	}
}

func sameEntry(a, b metav1.ManagedFieldsEntry) bool {
	if a.Manager != b.Manager || a.Operation != b.Operation || a.APIVersion != b.APIVersion || a.Subresource != b.Subresource {
		return false
	}
	return a.FieldsV1 == b.FieldsV1 || a.FieldsV1 != nil && b.FieldsV1 != nil && bytes.Equal(a.FieldsV1.GetRawBytes(), b.FieldsV1.GetRawBytes())
}

func sameTime(a, b metav1.ManagedFieldsEntry) bool { return a.Time.Equal(b.Time) }
