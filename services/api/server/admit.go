package server

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/audit"
	"karve.dev/karve/services/api/registry"
)

// attributes are what admission is told of a write. What it warns of belongs to this attempt of the request.
func (r *request) attributes(ctx context.Context, op admission.Operation, obj, old registry.Object, dryRun bool) *admission.Attributes {
	r.tryWarnings = nil
	a := &admission.Attributes{
		Operation: op, Kind: r.Kind, Subresource: r.subresource, Namespace: r.namespace, Name: r.name,
		Object: obj, Old: old, User: r.user, DryRun: dryRun, Warn: r.warnTry,
	}
	if r.options != nil {
		a.Options = func() runtime.Object { return r.options(op) }
	}
	if record := audit.From(ctx); record != nil {
		a.Annotate = record.Annotate
	}
	return a
}

func (r *request) warnTry(text string) { r.tryWarnings = append(r.tryWarnings, text) }

// admitPart carries the object of a subresource, which has a form of its own, through admission. Old may be nil.
func (s *Server) admitPart(ctx context.Context, r *request, op admission.Operation, part schema.GroupVersionKind, obj, old registry.Object, dryRun bool) error {
	a := r.attributes(ctx, op, obj, old, dryRun)
	a.Part = part
	if err := s.admission.Admit(ctx, a); err != nil {
		return err
	}
	return s.admission.Validate(ctx, a)
}

func optionsMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: metaGroup + "/v1", Kind: kind}
}

// writeOptions are a write's options as admission shows them: a patch counts as the create or update that it is.
func writeOptions(o *apiv1.WriteOptions) func(op admission.Operation) runtime.Object {
	return func(op admission.Operation) runtime.Object {
		dryRun := dryRunOf(o.GetDryRun())
		if op == admission.Create {
			return &metav1.CreateOptions{TypeMeta: optionsMeta("CreateOptions"), DryRun: dryRun, FieldManager: o.GetFieldManager(), FieldValidation: o.GetFieldValidation()}
		}
		return &metav1.UpdateOptions{TypeMeta: optionsMeta("UpdateOptions"), DryRun: dryRun, FieldManager: o.GetFieldManager(), FieldValidation: o.GetFieldValidation()}
	}
}

func dryRunOf(dry bool) []string {
	if dry {
		return []string{metav1.DryRunAll}
	}
	return nil
}

func deleteOptions(o *apiv1.DeleteOptions) func(admission.Operation) runtime.Object {
	return func(admission.Operation) runtime.Object {
		out := &metav1.DeleteOptions{TypeMeta: optionsMeta("DeleteOptions"), DryRun: dryRunOf(o.GetDryRun()), GracePeriodSeconds: asked(o)}
		if p := o.GetPropagationPolicy(); p != "" {
			policy := metav1.DeletionPropagation(p)
			out.PropagationPolicy = &policy
		}
		uid, version := types.UID(o.GetPreconditionUid()), o.GetPreconditionResourceVersion()
		if uid != "" || version != "" {
			out.Preconditions = &metav1.Preconditions{}
		}
		if uid != "" {
			out.Preconditions.UID = &uid
		}
		if version != "" {
			out.Preconditions.ResourceVersion = &version
		}
		return out
	}
}

// Kind returns how a kind is served.
func (s *Server) Kind(gvk schema.GroupVersionKind) (*registry.Kind, bool) {
	sv, ok := s.lookup(gvk)
	if !ok {
		return nil, false
	}
	return sv.Kind, true
}

// KindOf returns the kind of a resource.
func (s *Server) KindOf(gvr schema.GroupVersionResource) (*registry.Kind, bool) {
	for _, sv := range s.kinds.Load().order {
		if sv.GroupVersion() == gvr.GroupVersion() && sv.Resource == gvr.Resource {
			return sv.Kind, true
		}
	}
	return nil, false
}

// Equivalents returns the kinds by which the objects of k are served, k among them: its other versions.
func (s *Server) Equivalents(k *registry.Kind) (out []*registry.Kind) {
	prefix := KeyPrefix(k)
	for _, sv := range s.kinds.Load().order {
		if sv.Resource == k.Resource && KeyPrefix(sv.Kind) == prefix {
			out = append(out, sv.Kind)
		}
	}
	return out
}
