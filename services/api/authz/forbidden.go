package authz

import (
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Forbidden returns the error for a refused request, in Kubernetes' words. Reason, if any, is appended.
func Forbidden(attrs Attributes, reason string) error {
	out := &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Message: forbiddenText(attrs, reason),
	}}
	if attrs.Path == "" {
		out.ErrStatus.Details = &metav1.StatusDetails{Name: attrs.Name, Group: attrs.Group, Kind: attrs.Resource}
	} else {
		out.ErrStatus.Details = &metav1.StatusDetails{}
	}
	return out
}

func forbiddenText(attrs Attributes, reason string) string {
	text := attrs.subject() + " is forbidden: " + attrs.refusal()
	if attrs.Path != "" {
		text = "forbidden: " + attrs.refusal()
	}
	if reason != "" {
		text += ": " + reason
	}
	return text
}

// subject is "pods" or "pods \"name\"", with the group where there is one.
func (a Attributes) subject() string {
	s := a.Resource
	if a.Group != "" {
		s += "." + a.Group
	}
	if a.Name != "" {
		s += ` "` + a.Name + `"`
	}
	return s
}

func (a Attributes) refusal() string {
	var b strings.Builder
	b.WriteString(`User "` + a.User.Name + `" cannot ` + a.Verb)
	if a.Path != "" {
		b.WriteString(` path "` + a.Path + `"`)
		return b.String()
	}
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	b.WriteString(` resource "` + resource + `" in API group "` + a.Group + `"`)
	if a.Namespace != "" {
		b.WriteString(` in the namespace "` + a.Namespace + `"`)
	} else {
		b.WriteString(` at the cluster scope`)
	}
	return b.String()
}
