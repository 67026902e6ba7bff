package server

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/store"
)

// nameTries is how often another name is drawn for generateName when the first is taken.
const nameTries = 8

// Create implements ResourceService.
func (s *Server) Create(ctx context.Context, req *apiv1.CreateRequest) (res *apiv1.Result, err error) {
	r, err := s.begin(ctx, req.GetRef(), "create")
	if err != nil {
		return nil, err
	}
	defer func() { err = r.warned(err) }()
	r.options = writeOptions(req.GetOptions())
	if r.subresource != "" {
		return s.createSubresource(ctx, r, req)
	}
	if r.collection == nil {
		return s.createVirtual(ctx, r, req)
	}
	r.manager = req.GetOptions().GetFieldManager()
	obj, err := r.decodeNew(req)
	if err != nil {
		return nil, err
	}
	it, err := s.insertNamed(ctx, r, obj, req.GetOptions().GetDryRun())
	if err != nil {
		return nil, err
	}
	res, err = r.answer(&it, req.GetAs())
	if err == nil {
		res.Created = true
	}
	return res, err
}

// decodeNew reads the object of a create and empties what only the server sets.
func (r *request) decodeNew(req *apiv1.CreateRequest) (registry.Object, error) {
	strict, err := strictnessOf(req.GetOptions())
	if err != nil {
		return nil, err
	}
	obj := r.New()
	if err := r.decodeBody(req.GetObject(), r.GroupVersionKind, obj, strict); err != nil {
		return nil, err
	}
	if err := r.matchNamespace(obj); err != nil {
		return nil, err
	}
	if obj.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	return withoutSystemFields(obj), nil
}

// withoutSystemFields empties what only the server sets.
func withoutSystemFields(obj registry.Object) registry.Object {
	obj.SetUID("")
	obj.SetCreationTimestamp(metav1.Time{})
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	return obj
}

// matchNamespace puts obj into the namespace of the request; one that says otherwise is refused.
func (r *request) matchNamespace(obj registry.Object) error {
	if !r.Namespaced {
		obj.SetNamespace("")
		return nil
	}
	if said := obj.GetNamespace(); said != "" && said != r.namespace {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	obj.SetNamespace(r.namespace)
	return nil
}

// insertNamed stores a new object. With generateName it draws names until one is free.
func (s *Server) insertNamed(ctx context.Context, r *request, obj registry.Object, dryRun bool) (item, error) {
	if obj.GetName() != "" || obj.GetGenerateName() == "" {
		return s.insert(ctx, r, obj, dryRun)
	}
	for try := 1; ; try++ {
		named := obj.DeepCopyObject().(registry.Object)
		named.SetName(generated(obj.GetGenerateName()))
		it, err := s.insert(ctx, r, named, dryRun)
		if !apierrors.IsAlreadyExists(err) {
			return it, err
		}
		if try == nameTries {
			return it, apierrors.NewGenerateNameConflict(r.groupResource(), named.GetName(), 1)
		}
	}
}

const (
	maxNameLength   = 63
	generatedSuffix = 5
)

func generated(base string) string {
	return base[:min(len(base), maxNameLength-generatedSuffix)] + rand.String(generatedSuffix)
}

// insert carries a new object through defaults, admission and validation into the store.
func (s *Server) insert(ctx context.Context, r *request, obj registry.Object, dryRun bool) (item, error) {
	r.name = obj.GetName()
	r.Default(obj)
	s.recordCreate(ctx, r, obj)
	attrs := r.attributes(ctx, admission.Create, obj, nil, dryRun)
	if err := s.admission.Admit(ctx, attrs); err != nil {
		return item{}, err
	}
	if attrs.Round().Changed {
		if err := r.takeChanged(obj); err != nil {
			return item{}, err
		}
	}
	obj.SetUID(uuid.NewUUID())
	obj.SetCreationTimestamp(metav1.NewTime(r.now).Rfc3339Copy())
	r.PrepareCreate(obj)
	if err := r.validateNew(obj); err != nil {
		return item{}, err
	}
	if r.Warnings != nil {
		r.tryWarnings = append(r.tryWarnings, r.Warnings(obj, nil)...)
	}
	if err := s.admission.Validate(ctx, attrs); err != nil {
		return item{}, err
	}
	return s.put(ctx, r, obj, dryRun)
}

// takeChanged makes an object that somebody else than its author has changed one that can be created.
func (r *request) takeChanged(obj registry.Object) error {
	withoutSystemFields(obj)
	obj.SetResourceVersion("")
	r.name = obj.GetName()
	return r.matchNamespace(obj)
}

func (s *Server) put(ctx context.Context, r *request, obj registry.Object, dryRun bool) (item, error) {
	if dryRun {
		return s.insertDry(ctx, r, obj)
	}
	for try := 1; ; try++ {
		// What a hook chose in one try must not bind it in the next.
		obj := obj
		if s.config.Hooks[r.GroupKind()] != nil {
			obj = obj.DeepCopyObject().(registry.Object)
		}
		side, err := s.plan(ctx, r, obj, nil)
		if err != nil {
			return item{}, err
		}
		value, err := codec.Store(r.Kind, obj)
		if err != nil {
			return item{}, internal(err)
		}
		revision, err := s.config.Ledger.Commit(ctx, r.write(obj, nil), append([]store.Op{{Key: r.key(), Value: value}}, side...)...)
		if err == nil {
			r.noteWritten(revision)
			obj.SetResourceVersion(codec.FormatRevision(revision))
			return item{value: value, revision: revision, obj: obj, stored: true}, nil
		}
		if err = r.commitError(err, try); err != nil {
			return item{}, err
		}
		// The hook lost a race: let it see what the others have taken.
		if err := s.Sync(ctx); err != nil {
			return item{}, err
		}
	}
}

// insertDry does what a create would have done but for the storing.
func (s *Server) insertDry(ctx context.Context, r *request, obj registry.Object) (item, error) {
	if _, err := s.fetch(ctx, r); err == nil {
		return item{}, errExists(r)
	} else if !apierrors.IsNotFound(err) {
		return item{}, err
	}
	if err := s.config.Ledger.Check(ctx, r.write(obj, nil)); err != nil {
		return item{}, err
	}
	if _, err := s.plan(ctx, r, obj, nil); err != nil {
		return item{}, err
	}
	value, err := codec.Store(r.Kind, obj)
	return item{value: value, obj: obj}, err
}

// sideTries bounds how often a hook plans anew because somebody else was faster.
const sideTries = 16

// commitError judges a failed commit of a create: nil means that it is worth another try.
func (r *request) commitError(err error, try int) error {
	var failed *store.FailedOpError
	if !errors.As(err, &failed) {
		return r.storeError(err)
	}
	if failed.Index == 0 {
		return errExists(r)
	}
	if try < sideTries {
		return nil
	}
	return apierrors.NewServerTimeout(r.groupResource(), "create", 1)
}

// plan asks the kind's hook for what is committed together with a write.
func (s *Server) plan(ctx context.Context, r *request, obj, old registry.Object) ([]store.Op, error) {
	hook := s.config.Hooks[r.GroupKind()]
	if hook == nil {
		return nil, nil
	}
	return hook.Plan(ctx, obj, old)
}

func errExists(r *request) error { return apierrors.NewAlreadyExists(r.groupResource(), r.name) }
