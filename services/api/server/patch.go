package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/registry"
)

// Patch implements ResourceService.
func (s *Server) Patch(ctx context.Context, req *apiv1.PatchRequest) (res *apiv1.Result, err error) {
	r, err := s.begin(ctx, req.GetRef(), "patch")
	if err != nil {
		return nil, err
	}
	defer func() { err = r.warned(err) }()
	strict, err := strictnessOf(req.GetOptions())
	if err != nil {
		return nil, err
	}
	r.manager, r.options = req.GetOptions().GetFieldManager(), writeOptions(req.GetOptions())
	if req.GetType() == apiv1.PatchType_PATCH_TYPE_APPLY {
		return s.apply(ctx, r, req, strict)
	}
	if err := r.checkPatch(req.GetType()); err != nil {
		return nil, err
	}
	apply, err := newPatch(req, r.New)
	if err != nil {
		return nil, err
	}
	r.shownPatch = shownPatch(req)
	if r.subresource == "scale" {
		return s.patchScale(ctx, r, req, strict)
	}
	write, err := r.writer()
	if err != nil {
		return nil, err
	}
	done, err := s.modify(ctx, r, req.GetOptions().GetDryRun(), func(old registry.Object) (Outcome, error) {
		obj, err := r.patched(old, apply, strict)
		if err != nil {
			return Outcome{}, err
		}
		return s.replace(ctx, r, write, obj, old, req.GetOptions().GetDryRun())
	})
	if err != nil {
		return nil, err
	}
	return r.answer(&done.item, req.GetAs())
}

// checkPatch refuses strategic merges of custom objects, whose types tell no merge keys.
func (r *request) checkPatch(t apiv1.PatchType) error {
	if r.Custom == nil || t != apiv1.PatchType_PATCH_TYPE_STRATEGIC_MERGE {
		return nil
	}
	return unsupportedPatch("the body of the request was in an unknown format - accepted media types include: " +
		"application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml")
}

// patchFunc turns an object's JSON into the patched JSON.
type patchFunc func(original []byte) ([]byte, error)

// newPatch parses a patch once, for all attempts to apply it. Empty makes an object that has the patched type's tags.
func newPatch(req *apiv1.PatchRequest, empty func() registry.Object) (patchFunc, error) {
	patch := req.GetPatch()
	if len(patch) > maxBody {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	if !json.Valid(patch) {
		return nil, apierrors.NewBadRequest("invalid JSON patch")
	}
	switch req.GetType() {
	case apiv1.PatchType_PATCH_TYPE_JSON:
		return jsonPatch(patch)
	case apiv1.PatchType_PATCH_TYPE_MERGE:
		if err := wantObject(patch, "error decoding patch: "); err != nil {
			return nil, err
		}
		return func(original []byte) ([]byte, error) { return jsonpatch.MergePatch(original, patch) }, nil
	case apiv1.PatchType_PATCH_TYPE_STRATEGIC_MERGE:
		if err := wantObject(patch, ""); err != nil {
			return nil, err
		}
		return func(original []byte) ([]byte, error) {
			return strategicpatch.StrategicMergePatch(original, patch, empty())
		}, nil
	}
	return nil, unsupportedPatch("the patch type is not supported")
}

// maxPatchOps bounds a JSON patch, as Kubernetes does.
const maxPatchOps = 10000

func init() {
	// A patch may copy a large value again and again; Kubernetes bounds that, too.
	jsonpatch.AccumulatedCopySizeLimit = maxBody
}

func jsonPatch(patch []byte) (patchFunc, error) {
	ops, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, apierrors.NewBadRequest("error decoding patch: " + theirTypes.Replace(err.Error()))
	}
	if len(ops) > maxPatchOps {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOps, len(ops)))
	}
	return func(original []byte) (patched []byte, err error) {
		defer func() {
			// The library takes some malformed operations (a replace without a value, say) for granted.
			if p := recover(); p != nil {
				patched, err = nil, fmt.Errorf("the JSON patch has an operation that cannot be applied: %v", p)
			}
		}()
		return ops.Apply(original)
	}, nil
}

// shownPatch is a strategic merge as Kubernetes shows it in a refusal: the patch, not what became of the object.
func shownPatch(req *apiv1.PatchRequest) string {
	var content map[string]any
	if req.GetType() != apiv1.PatchType_PATCH_TYPE_STRATEGIC_MERGE || json.Unmarshal(req.GetPatch(), &content) != nil {
		return ""
	}
	return fmt.Sprintf("%+v", content)
}

// theirTypes puts the names of Kubernetes' types, which people search for, in the place of others.
var theirTypes = strings.NewReplacer("jsonpatch.Patch", "[]handlers.jsonPatchOp", "jsonpatch.Operation", "handlers.jsonPatchOp",
	"map[string]json.RawMessage", "map[string]interface {}")

func wantObject(patch []byte, prefix string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(patch, &fields); err != nil {
		return apierrors.NewBadRequest(prefix + theirTypes.Replace(err.Error()))
	}
	return nil
}

func unsupportedPatch(text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType, Message: text,
	}}
}

// patched applies a patch to old, which stays as it is.
func (r *request) patched(old registry.Object, apply patchFunc, strict strictness) (registry.Object, error) {
	obj := r.New()
	original, err := r.original(old)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if err := r.patchInto(obj, original, r.GroupVersionKind, apply, strict); err != nil {
		return nil, err
	}
	if err := r.matchNamespace(obj); err != nil {
		return nil, err
	}
	if obj.GetName() != r.name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), r.name))
	}
	r.Default(obj)
	return obj, nil
}

// patchInto applies a patch to an object's JSON and reads the outcome into an empty object.
func (r *request) patchInto(into runtime.Object, original []byte, gvk schema.GroupVersionKind, apply patchFunc, strict strictness) error {
	out, err := apply(original)
	if err != nil {
		return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	found, err := readStrict(out, into)
	if err == nil && strict == strictUnknown && len(found) > 0 {
		err = runtime.NewStrictDecodingError(found)
	}
	if err != nil {
		bad := field.Invalid(field.NewPath("patch"), cmp.Or(r.shownPatch, string(bytes.TrimSpace(out))), err.Error())
		return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{bad})
	}
	r.warnings = nil
	if strict == warnUnknown {
		for _, e := range found {
			r.warn(e.Error())
		}
	}
	said := into.GetObjectKind().GroupVersionKind()
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return checkKind(gvk, said.GroupVersion().String(), said.Kind)
}
