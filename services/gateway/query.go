package gateway

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/route"
)

// asksForWatch finds "watch=true" in a raw query without parsing it.
func asksForWatch(raw string) bool {
	if !strings.Contains(raw, "watch") {
		return false
	}
	values, err := url.ParseQuery(raw)
	return err == nil && isTrue(values, "watch")
}

// query returns the parameters of a request; nil, which can be read, when there are none.
func query(r *http.Request) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return values, nil
}

// isTrue reads a boolean parameter as Kubernetes does: given and neither "false" nor "0".
func isTrue(q url.Values, name string) bool {
	values, ok := q[name]
	if !ok || len(values) == 0 {
		return false
	}
	return !strings.EqualFold(values[0], "false") && values[0] != "0"
}

func integer(q url.Values, name string) (int64, error) {
	value := q.Get(name)
	if value == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(err.Error())
	}
	return n, nil
}

func optionalInteger(q url.Values, name string) (*int64, error) {
	if q.Get(name) == "" {
		return nil, nil
	}
	n, err := integer(q, name)
	return &n, err
}

// writeOptions reads what the verbs that write have in common.
func writeOptions(q url.Values, verb route.Verb, patch apiv1.PatchType) (*apiv1.WriteOptions, error) {
	if len(q) == 0 && patch != apiv1.PatchType_PATCH_TYPE_APPLY {
		return nil, nil
	}
	dryRun, manager, fieldValidation := q["dryRun"], q.Get("fieldManager"), q.Get("fieldValidation")
	var errs field.ErrorList
	var kind string
	switch verb {
	case route.Create:
		kind = "CreateOptions"
		errs = validation.ValidateCreateOptions(&metav1.CreateOptions{DryRun: dryRun, FieldManager: manager, FieldValidation: fieldValidation})
	case route.Update:
		kind = "UpdateOptions"
		errs = validation.ValidateUpdateOptions(&metav1.UpdateOptions{DryRun: dryRun, FieldManager: manager, FieldValidation: fieldValidation})
	default:
		kind = "PatchOptions"
		options := &metav1.PatchOptions{DryRun: dryRun, FieldManager: manager, FieldValidation: fieldValidation}
		if _, given := q["force"]; given {
			force := isTrue(q, "force")
			options.Force = &force
		}
		errs = validation.ValidatePatchOptions(options, kubePatchType(patch))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
	}
	return &apiv1.WriteOptions{DryRun: len(dryRun) > 0, FieldManager: manager, FieldValidation: fieldValidation}, nil
}

func kubePatchType(t apiv1.PatchType) types.PatchType {
	if t == apiv1.PatchType_PATCH_TYPE_APPLY {
		return types.ApplyPatchType
	}
	return types.MergePatchType
}

// includeObject reads the option of tables.
func includeObject(q url.Values) (string, error) {
	value := q.Get("includeObject")
	switch metav1.IncludeObjectPolicy(value) {
	case "", metav1.IncludeNone, metav1.IncludeMetadata, metav1.IncludeObject:
		return value, nil
	}
	return "", apierrors.NewBadRequest(`unrecognized includeObject value: "` + value + `"`)
}
