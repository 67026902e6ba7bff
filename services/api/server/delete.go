package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/registry"
)

// Delete implements ResourceService.
func (s *Server) Delete(ctx context.Context, req *apiv1.DeleteRequest) (res *apiv1.Result, err error) {
	r, err := s.begin(ctx, req.GetRef(), "delete")
	if err != nil {
		return nil, err
	}
	defer func() { err = r.warned(err) }()
	if r.subresource != "" {
		return nil, apierrors.NewMethodNotSupported(r.groupResource(), "delete")
	}
	if err := checkDelete(req.GetOptions()); err != nil {
		return nil, err
	}
	r.options = deleteOptions(req.GetOptions())
	done, err := s.remove(ctx, r, req.GetOptions())
	if err != nil {
		return nil, err
	}
	if done.removed && !answersWithObject[r.GroupKind()] {
		obj, err := done.object(r.Kind)
		if err != nil {
			return nil, err
		}
		return r.success(req.GetAs(), obj.GetUID())
	}
	return r.answer(&done.item, req.GetAs())
}

// answersWithObject are the kinds whose deletion is answered with the object that was deleted.
var answersWithObject = map[schema.GroupKind]bool{
	{Kind: "Pod"}: true, {Kind: "Service"}: true, {Kind: "PersistentVolume"}: true, {Kind: "PersistentVolumeClaim"}: true,
	{Kind: "ServiceAccount"}: true, {Kind: "ResourceQuota"}: true, {Kind: "PodTemplate"}: true,
	{Group: "storage.k8s.io", Kind: "StorageClass"}: true, {Group: "storage.k8s.io", Kind: "VolumeAttachment"}: true,
	{Group: "storage.k8s.io", Kind: "CSIDriver"}: true, {Group: "storage.k8s.io", Kind: "CSINode"}: true,
}

var propagations = []string{string(metav1.DeletePropagationBackground), string(metav1.DeletePropagationForeground), string(metav1.DeletePropagationOrphan)}

func checkDelete(o *apiv1.DeleteOptions) error {
	var errs field.ErrorList
	if p := o.GetPropagationPolicy(); p != "" && !slices.Contains(propagations, p) {
		errs = append(errs, field.NotSupported(field.NewPath("propagationPolicy"), p, propagations))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
}

// remove deletes an object, or marks it as terminating.
func (s *Server) remove(ctx context.Context, r *request, o *apiv1.DeleteOptions) (changed, error) {
	return s.modify(ctx, r, o.GetDryRun(), func(old registry.Object) (Outcome, error) { return s.decideRemoval(ctx, r, old, o) })
}

func (s *Server) decideRemoval(ctx context.Context, r *request, old registry.Object, o *apiv1.DeleteOptions) (Outcome, error) {
	if err := r.preconditions(old, o); err != nil {
		return Outcome{}, err
	}
	attrs := r.attributes(ctx, admission.Delete, nil, old, o.GetDryRun())
	// An eviction has been admitted as what it is.
	attrs.Subresource, attrs.Settled = "", r.subresource != ""
	if err := s.admission.Admit(ctx, attrs); err != nil {
		return Outcome{}, err
	}
	if err := s.admission.Validate(ctx, attrs); err != nil {
		return Outcome{}, err
	}
	return Outcome{Next: old, Remove: terminate(r.Kind, old, o, r.now)}, nil
}

func (r *request) preconditions(old registry.Object, o *apiv1.DeleteOptions) error {
	if uid := o.GetPreconditionUid(); uid != "" && uid != string(old.GetUID()) {
		return apierrors.NewConflict(r.groupResource(), r.name,
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, old.GetUID()))
	}
	if v := o.GetPreconditionResourceVersion(); v != "" && v != old.GetResourceVersion() {
		return apierrors.NewConflict(r.groupResource(), r.name,
			fmt.Errorf("Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", v, old.GetResourceVersion()))
	}
	return nil
}

// terminate decides what a deletion does to obj: true removes it, false leaves it as terminate has changed it. It
// is removed at once when neither a grace period nor a finalizer keeps it.
func terminate(k *registry.Kind, obj registry.Object, o *apiv1.DeleteOptions, now time.Time) bool {
	if obj.GetDeletionTimestamp() != nil {
		return hasten(k, obj, o)
	}
	obj.SetFinalizers(propagationFinalizers(obj.GetFinalizers(), o.GetPropagationPolicy()))
	if k.PrepareDelete != nil {
		k.PrepareDelete(obj, now)
	}
	grace := int64(0)
	if k.GracePeriod != nil {
		grace = max(k.GracePeriod(obj, asked(o)), 0)
	}
	if grace == 0 && !held(obj) {
		return true
	}
	deleted := metav1.NewTime(now.Add(time.Duration(grace) * time.Second)).Rfc3339Copy()
	obj.SetDeletionTimestamp(&deleted)
	obj.SetDeletionGracePeriodSeconds(&grace)
	if obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if ns, ok := obj.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
	}
	return false
}

// hasten shortens the grace period of an object that is terminating already; it cannot be lengthened.
func hasten(k *registry.Kind, obj registry.Object, o *apiv1.DeleteOptions) bool {
	if asked(o) != nil && k.GracePeriod != nil && obj.GetDeletionGracePeriodSeconds() != nil {
		was, grace := *obj.GetDeletionGracePeriodSeconds(), max(k.GracePeriod(obj, asked(o)), 0)
		if grace < was {
			deleted := metav1.NewTime(obj.GetDeletionTimestamp().Add(time.Duration(grace-was) * time.Second)).Rfc3339Copy()
			obj.SetDeletionTimestamp(&deleted)
			obj.SetDeletionGracePeriodSeconds(&grace)
		}
	}
	grace := obj.GetDeletionGracePeriodSeconds()
	return !held(obj) && (grace == nil || *grace == 0)
}

func asked(o *apiv1.DeleteOptions) *int64 {
	if o == nil {
		return nil
	}
	return o.GracePeriodSeconds
}

// held reports whether a finalizer keeps the object.
func held(obj registry.Object) bool {
	if ns, ok := obj.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		return true
	}
	return len(obj.GetFinalizers()) > 0
}

// propagationFinalizers are an object's finalizers after the deletion's policy has had its say.
func propagationFinalizers(have []string, policy string) []string {
	want := map[string]string{
		string(metav1.DeletePropagationOrphan):     metav1.FinalizerOrphanDependents,
		string(metav1.DeletePropagationForeground): metav1.FinalizerDeleteDependents,
		string(metav1.DeletePropagationBackground): "",
	}
	add, said := want[policy]
	if !said {
		return have
	}
	out := slices.DeleteFunc(slices.Clone(have), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if add != "" {
		out = append(out, add)
	}
	return out
}
