package server

import (
	"bytes"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	sigsjson "sigs.k8s.io/json"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/codec"
)

// maxBody bounds one object, as Kubernetes does.
const maxBody = 3 << 20

// strictness is what to do with fields that nobody knows.
type strictness string

const (
	ignoreUnknown = strictness(metav1.FieldValidationIgnore)
	warnUnknown   = strictness(metav1.FieldValidationWarn)
	strictUnknown = strictness(metav1.FieldValidationStrict)
)

func strictnessOf(o *apiv1.WriteOptions) (strictness, error) {
	switch v := strictness(o.GetFieldValidation()); v {
	case "":
		return warnUnknown, nil
	case ignoreUnknown, warnUnknown, strictUnknown:
		return v, nil
	default:
		err := field.NotSupported(field.NewPath("fieldValidation"), v, []strictness{ignoreUnknown, warnUnknown, strictUnknown})
		return "", apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "CreateOptions"}, "", field.ErrorList{err})
	}
}

// decodeBody reads what a client sent into an empty object of the kind gvk and checks that it says so.
func (r *request) decodeBody(env *apiv1.Object, gvk schema.GroupVersionKind, into runtime.Object, strict strictness) error {
	data := env.GetData()
	if len(data) > maxBody {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	if env.GetEncoding() != json_ {
		if err := codec.Unmarshal(data, into); err != nil {
			return unreadable(gvk, err)
		}
		return checkKind(gvk, env.GetApiVersion(), env.GetKind())
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return apierrors.NewBadRequest("the body of the request is empty")
	}
	if err := r.unmarshal(data, into, gvk, strict); err != nil {
		return err
	}
	said := into.GetObjectKind().GroupVersionKind()
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return checkKind(gvk, said.GroupVersion().String(), said.Kind)
}

// unmarshal reads JSON; what strict parsing finds becomes an error or warnings.
func (r *request) unmarshal(data []byte, into runtime.Object, gvk schema.GroupVersionKind, strict strictness) error {
	found, err := readStrict(data, into)
	if err != nil {
		return unreadable(gvk, err)
	}
	if len(found) == 0 || strict == ignoreUnknown {
		return nil
	}
	if strict == strictUnknown {
		return unreadable(gvk, runtime.NewStrictDecodingError(found))
	}
	for _, e := range found {
		r.warn(e.Error())
	}
	return nil
}

// strictReader is what an object is that knows by itself what it does not know.
type strictReader interface {
	// UnmarshalStrict reads JSON; what it finds besides errors are unknown and doubled fields.
	UnmarshalStrict(data []byte) (found []error, err error)
}

func readStrict(data []byte, into runtime.Object) (found []error, err error) {
	if r, ok := into.(strictReader); ok {
		return r.UnmarshalStrict(data)
	}
	return sigsjson.UnmarshalStrict(data, into)
}

func unreadable(gvk schema.GroupVersionKind, err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, err))
}

func checkKind(want schema.GroupVersionKind, apiVersion, kind string) error {
	if kind != "" && kind != want.Kind {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: the kind does not match", kind, want.Version, want.Kind))
	}
	expected := want.GroupVersion().String()
	if apiVersion != "" && apiVersion != expected {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", apiVersion, expected))
	}
	return nil
}
