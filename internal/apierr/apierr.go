// Package apierr carries Kubernetes API errors over gRPC. Errors are raised as k8s.io/apimachinery's StatusError
// where they happen; this package holds the one table that translates them at the edge, in both directions.
package apierr

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// reasons pairs what Kubernetes says with what gRPC says. The first pair that matches is taken, in either direction.
var reasons = []struct {
	reason metav1.StatusReason
	http   int32
	code   codes.Code
}{
	{metav1.StatusReasonNotFound, http.StatusNotFound, codes.NotFound},
	{metav1.StatusReasonAlreadyExists, http.StatusConflict, codes.AlreadyExists},
	{metav1.StatusReasonConflict, http.StatusConflict, codes.Aborted},
	{metav1.StatusReasonInvalid, http.StatusUnprocessableEntity, codes.InvalidArgument},
	{metav1.StatusReasonBadRequest, http.StatusBadRequest, codes.InvalidArgument},
	{metav1.StatusReasonForbidden, http.StatusForbidden, codes.PermissionDenied},
	{metav1.StatusReasonUnauthorized, http.StatusUnauthorized, codes.Unauthenticated},
	{metav1.StatusReasonExpired, http.StatusGone, codes.OutOfRange},
	{metav1.StatusReasonGone, http.StatusGone, codes.OutOfRange},
	{metav1.StatusReasonTooManyRequests, http.StatusTooManyRequests, codes.ResourceExhausted},
	{metav1.StatusReasonTimeout, http.StatusGatewayTimeout, codes.DeadlineExceeded},
	{metav1.StatusReasonServiceUnavailable, http.StatusServiceUnavailable, codes.Unavailable},
	{metav1.StatusReasonServerTimeout, http.StatusInternalServerError, codes.Unavailable},
	{metav1.StatusReasonMethodNotAllowed, http.StatusMethodNotAllowed, codes.Unimplemented},
	{metav1.StatusReasonNotAcceptable, http.StatusNotAcceptable, codes.InvalidArgument},
	{metav1.StatusReasonUnsupportedMediaType, http.StatusUnsupportedMediaType, codes.InvalidArgument},
	{metav1.StatusReasonRequestEntityTooLarge, http.StatusRequestEntityTooLarge, codes.ResourceExhausted},
	{metav1.StatusReasonInternalError, http.StatusInternalServerError, codes.Internal},
}

// Warned is an error with which warnings go to the client.
type Warned struct {
	Err   error
	Texts []string
}

// Error implements error.
func (w *Warned) Error() string { return w.Err.Error() }

// Unwrap returns Err.
func (w *Warned) Unwrap() error { return w.Err }

// Warnings returns the warnings that came with a gRPC error.
func Warnings(err error) []string {
	st, ok := status.FromError(err)
	if !ok {
		return nil
	}
	for _, d := range st.Details() {
		if detail, ok := d.(*apiv1.StatusDetail); ok {
			return detail.GetWarnings()
		}
	}
	return nil
}

// ToGRPC turns any error into a gRPC status error; a Kubernetes Status travels whole in its details.
func ToGRPC(err error) error {
	if err == nil {
		return nil
	}
	var apiStatus apierrors.APIStatus
	if !errors.As(err, &apiStatus) {
		return plainToGRPC(err)
	}
	kube := apiStatus.Status()
	st := status.New(codeOf(&kube), kube.Message)
	body, jsonErr := json.Marshal(&kube)
	if jsonErr != nil {
		return st.Err()
	}
	detail := &apiv1.StatusDetail{Status: body}
	var warned *Warned
	if errors.As(err, &warned) {
		detail.Warnings = warned.Texts
	}
	if detailed, detailErr := st.WithDetails(detail); detailErr == nil {
		st = detailed
	}
	return st.Err()
}

func plainToGRPC(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return ToGRPC(apierrors.NewInternalError(err))
}

// codeOf goes by the reason, or by the HTTP code where the reason is nobody's: users' webhooks refuse in words of their own.
func codeOf(status *metav1.Status) codes.Code {
	for _, r := range reasons {
		if r.reason == status.Reason {
			return r.code
		}
	}
	for _, r := range reasons {
		if r.http == status.Code && status.Code < http.StatusInternalServerError {
			return r.code
		}
	}
	return codes.Unknown
}

// FromGRPC returns the Kubernetes error that a gRPC error carries, so that callers ask apierrors.IsNotFound and the
// like. Errors without one (a lost connection, a deadline) get the nearest Status; a nil error stays nil.
func FromGRPC(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range st.Details() {
		detail, ok := d.(*apiv1.StatusDetail)
		if !ok {
			continue
		}
		var kube metav1.Status
		if json.Unmarshal(detail.Status, &kube) == nil {
			return &apierrors.StatusError{ErrStatus: kube}
		}
	}
	if st.Code() == codes.Canceled {
		return context.Canceled
	}
	out := metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError, Message: st.Message()}
	for _, r := range reasons {
		if r.code == st.Code() {
			out.Reason, out.Code = r.reason, r.http
			break
		}
	}
	return &apierrors.StatusError{ErrStatus: out}
}
