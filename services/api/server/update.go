package server

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/managedfields"
	"karve.dev/karve/services/api/registry"
)

const textModified = "the object has been modified; please apply your changes to the latest version and try again"

// Update implements ResourceService.
func (s *Server) Update(ctx context.Context, req *apiv1.UpdateRequest) (res *apiv1.Result, err error) {
	r, err := s.begin(ctx, req.GetRef(), "update")
	if err != nil {
		return nil, err
	}
	defer func() { err = r.warned(err) }()
	r.manager, r.options = req.GetOptions().GetFieldManager(), writeOptions(req.GetOptions())
	if r.subresource == "scale" {
		return s.updateScale(ctx, r, req)
	}
	write, err := r.writer()
	if err != nil {
		return nil, err
	}
	body, err := r.decodeReplacement(req)
	if err != nil {
		return nil, err
	}
	done, err := s.modify(ctx, r, req.GetOptions().GetDryRun(), func(old registry.Object) (Outcome, error) {
		obj := body.DeepCopyObject().(registry.Object)
		return s.replace(ctx, r, write, obj, old, req.GetOptions().GetDryRun())
	})
	if err != nil {
		return nil, err
	}
	return r.answer(&done.item, req.GetAs())
}

func (r *request) decodeReplacement(req *apiv1.UpdateRequest) (registry.Object, error) {
	strict, err := strictnessOf(req.GetOptions())
	if err != nil {
		return nil, err
	}
	body := r.New()
	if err := r.decodeBody(req.GetObject(), r.GroupVersionKind, body, strict); err != nil {
		return nil, err
	}
	if err := r.matchNamespace(body); err != nil {
		return nil, err
	}
	switch said := body.GetName(); said {
	case "":
		return nil, apierrors.NewBadRequest("the name of the object must be provided")
	case r.name:
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", said, r.name))
	}
	if r.Custom != nil && body.GetResourceVersion() == "" {
		// Custom objects are only replaced as somebody has seen them.
		return nil, r.invalid(field.ErrorList{field.Invalid(metadataPath.Child("resourceVersion"), uint64(0), "must be specified for an update")})
	}
	r.Default(body)
	return body, nil
}

// replace makes obj, which a client wants in old's place, what will be stored.
func (s *Server) replace(ctx context.Context, r *request, write writer, obj, old registry.Object, dryRun bool) (Outcome, error) {
	if v := obj.GetResourceVersion(); v != "" && v != "0" && v != old.GetResourceVersion() {
		return Outcome{}, apierrors.NewConflict(r.groupResource(), r.name, errors.New(textModified))
	}
	if uid := obj.GetUID(); uid != "" && uid != old.GetUID() {
		return Outcome{}, apierrors.NewConflict(r.groupResource(), r.name,
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, old.GetUID()))
	}
	obj.SetResourceVersion(old.GetResourceVersion())
	keepSystemFields(obj, old)
	was := old.DeepCopyObject().(registry.Object)
	claimed := obj.GetManagedFields()
	write.prepare(obj, old)
	obj.SetManagedFields(claimed)
	s.recordUpdate(ctx, r, obj, was)
	attrs := r.attributes(ctx, admission.Update, obj, was, dryRun)
	if err := s.admitReplaced(ctx, r, write, attrs); err != nil {
		return Outcome{}, err
	}
	managedfields.Settle(obj, was)
	if err := r.validateUpdate(obj, was, write.validate); err != nil {
		return Outcome{}, err
	}
	if r.Warnings != nil && r.subresource == "" {
		r.tryWarnings = append(r.tryWarnings, r.Warnings(obj, was)...)
	}
	if r.part != "" {
		return Outcome{Next: obj}, nil
	}
	if err := s.admission.Validate(ctx, attrs); err != nil {
		return Outcome{}, err
	}
	return Outcome{Next: obj}, nil
}

// admitReplaced lets admission complete an object that replaces another. What came through a subresource with a form of
// its own has been admitted in that form.
func (s *Server) admitReplaced(ctx context.Context, r *request, write writer, a *admission.Attributes) error {
	if r.part != "" {
		return nil
	}
	if err := s.admission.Admit(ctx, a); err != nil || !a.Round().Changed {
		return err
	}
	record := a.Object.GetManagedFields()
	a.Object.SetResourceVersion(a.Old.GetResourceVersion())
	keepSystemFields(a.Object, a.Old)
	write.prepare(a.Object, a.Old.DeepCopyObject().(registry.Object))
	a.Object.SetManagedFields(record)
	return r.matchNamespace(a.Object)
}
