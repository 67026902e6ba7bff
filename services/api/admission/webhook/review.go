package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/registry"
)

type gvk = schema.GroupVersionKind

const reviewKind = "AdmissionReview"

// ask posts a review and returns what the webhook says, if that is a valid answer. It does not look at whether the write
// is allowed.
func (p *Plugin) ask(ctx context.Context, c *call, mutating bool) (*admissionv1.AdmissionResponse, error) {
	fail := func(what string, err error) error {
		return &unreachable{c.name, fmt.Errorf("%s: %w", what, err)}
	}
	if c.view.Write.DryRun && !c.dry {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", c.name))
	}
	if c.version == "" {
		return nil, fail("could not create admission objects", errors.New("webhook does not accept known AdmissionReview versions (v1, v1beta1)"))
	}
	uid := uuid.NewUUID()
	body, err := c.review(uid)
	if err != nil {
		return nil, fail("could not create admission objects", err)
	}
	data, err := p.config.Client.Post(ctx, c.endpoint, c.timeout, body)
	if err != nil {
		return nil, fail("failed to call webhook", err)
	}
	answer := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(data, answer); err != nil {
		return nil, fail("failed to call webhook", err)
	}
	if err := c.check(answer, uid, mutating); err != nil {
		return nil, fail("received invalid webhook response", err)
	}
	for key, value := range answer.Response.AuditAnnotations {
		c.view.Write.Annotation(c.name+"/"+key, value)
	}
	for _, text := range answer.Response.Warnings {
		c.view.Write.Warning(text)
	}
	return answer.Response, nil
}

// check says what is wrong with an answer. The older version was never checked for what it is an answer to.
func (c *call) check(answer *admissionv1.AdmissionReview, uid types.UID, mutating bool) error {
	r := answer.Response
	if r == nil {
		return errors.New("webhook response was absent")
	}
	if c.version != "v1" {
		r.PatchType = nil
		if len(r.Patch) > 0 {
			patchType := admissionv1.PatchTypeJSONPatch
			r.PatchType = &patchType
		}
		return nil
	}
	want := admissionv1.SchemeGroupVersion.WithKind(reviewKind)
	switch said := answer.GroupVersionKind(); {
	case r.UID != uid:
		return fmt.Errorf("expected response.uid=%q, got %q", uid, r.UID)
	case said != want:
		return fmt.Errorf("expected webhook response of %v, got %v", want, said)
	case !mutating && len(r.Patch) > 0:
		return errors.New("validating webhook may not return response.patch")
	case !mutating && r.PatchType != nil:
		return errors.New("validating webhook may not return response.patchType")
	case len(r.Patch) > 0 && r.PatchType == nil:
		return errors.New("webhook returned response.patch but not response.patchType")
	case len(r.Patch) == 0 && r.PatchType != nil:
		return errors.New("webhook returned response.patchType but not response.patch")
	case r.PatchType != nil && *r.PatchType == "":
		return fmt.Errorf("webhook returned invalid response.patchType of %q", *r.PatchType)
	}
	return nil
}

// review is the question.
func (c *call) review(uid types.UID) ([]byte, error) {
	a := c.view.Write
	object, err := c.view.ObjectJSON()
	if err != nil {
		return nil, err
	}
	old, err := c.view.OldJSON()
	if err != nil {
		return nil, err
	}
	kind, asked := metav1.GroupVersionKind(c.view.GVK()), metav1.GroupVersionKind(a.Kind.GroupVersionKind)
	if !a.Part.Empty() {
		asked = kind
	}
	resource, askedResource := resourceOf(c.view.Kind), resourceOf(a.Kind)
	dryRun := a.DryRun
	review := &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.GroupName + "/" + c.version, Kind: reviewKind},
		Request: &admissionv1.AdmissionRequest{
			UID: uid, Kind: kind, Resource: resource, SubResource: a.Subresource, RequestKind: &asked, RequestResource: &askedResource,
			RequestSubResource: a.Subresource, Name: a.Name, Namespace: namespaceOf(a), Operation: admissionv1.Operation(a.Operation.String()),
			UserInfo: a.User.Info(), Object: runtime.RawExtension{Raw: object}, OldObject: runtime.RawExtension{Raw: old}, DryRun: &dryRun,
		},
	}
	if a.Options != nil {
		review.Request.Options = runtime.RawExtension{Object: a.Options()}
	}
	return json.Marshal(review)
}

func resourceOf(k *registry.Kind) metav1.GroupVersionResource {
	return metav1.GroupVersionResource(k.GroupVersion().WithResource(k.Resource))
}

// namespaceOf: a Namespace counts as in itself.
func namespaceOf(a *admission.Attributes) string {
	if a.Kind.Group == "" && a.Kind.Kind == "Namespace" {
		return a.Name
	}
	return a.Namespace
}

// denial is a webhook's refusal as the client gets it.
func denial(name string, status *metav1.Status) error {
	out := metav1.Status{}
	if status != nil {
		out = *status
	}
	out.Code = max(out.Code, http.StatusBadRequest)
	if out.Status == "" || out.Status == metav1.StatusSuccess {
		out.Status = metav1.StatusFailure
	}
	text := fmt.Sprintf("admission webhook %q denied the request", name)
	switch {
	case out.Message != "":
		out.Message = text + ": " + out.Message
	case out.Reason != "":
		out.Message = text + ": " + string(out.Reason)
	default:
		out.Message = text + " without explanation"
	}
	return &apierrors.StatusError{ErrStatus: out}
}
