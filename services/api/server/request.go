package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/audit"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/watch"
)

// request is one call after authorization: the kind that it is about and who asks.
type request struct {
	*served
	namespace, name, subresource string
	user                         identity.User
	now                          time.Time
	warnings                     []string
	// tryWarnings are those of the newest attempt of a change that may be tried several times.
	tryWarnings []string
	// manager is the writer's name as a field manager; applied tells that the object comes with its record.
	manager string
	applied bool
	// options are those of the call, as admission shows them; nil: there are none.
	options func(admission.Operation) runtime.Object
	// part is the subresource that a write of the main object came through.
	part string
	// shownPatch is how a patch that does not fit is shown in its refusal; empty: by its outcome.
	shownPatch string
	// onWire: the answer is sent to another process.
	onWire bool
	// base is what the newest attempt of a change begins with; nil when it did not come from the cache.
	base *watch.Entry
}

// begin finds the kind that a call names, checks that the reference makes sense for it, and authorizes the verb.
func (s *Server) begin(ctx context.Context, ref *apiv1.ObjectRef, verb string, fieldSelector ...string) (*request, error) {
	gv, err := schema.ParseGroupVersion(ref.GetApiVersion())
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	sv, ok := s.lookup(gv.WithKind(ref.GetKind()))
	if !ok {
		if s.config.Elsewhere != nil && s.config.Elsewhere(gv) {
			return nil, errElsewhere(gv)
		}
		return nil, errUnknownKind()
	}
	user, _ := identity.UserFrom(ctx)
	r := &request{served: sv, namespace: ref.GetNamespace(), name: ref.GetName(), subresource: ref.GetSubresource(), user: user, now: time.Now()}
	_, r.onWire = transport.OnWire(ctx)
	attrs := authz.Attributes{
		User: user, Verb: verb, Group: gv.Group, Version: gv.Version, Resource: sv.Resource,
		Subresource: r.subresource, Namespace: r.namespace, Name: r.name,
	}
	if len(fieldSelector) > 0 {
		attrs.FieldSelector = fieldSelector[0]
		if attrs.Name == "" && verb != "deletecollection" {
			// Who may read one object only may list and watch it.
			attrs.Name = selectedName(fieldSelector[0])
		}
	}
	if err := s.authorize(ctx, attrs); err != nil {
		return nil, err
	}
	return r, r.check(verb)
}

// selectedName is the name of the one object that a field selector chooses; empty when it may choose others.
func selectedName(selector string) string {
	parsed, err := fields.ParseSelector(selector)
	if err != nil {
		return ""
	}
	name, _ := parsed.RequiresExactMatch("metadata.name")
	if len(path.IsValidPathSegmentName(name)) > 0 {
		return ""
	}
	return name
}

// Authorize refuses what somebody may not do.
func (s *Server) Authorize(ctx context.Context, attrs authz.Attributes) error {
	return s.authorize(ctx, attrs)
}

func (s *Server) authorize(ctx context.Context, attrs authz.Attributes) error {
	record := audit.From(ctx)
	record.Asks(attrs)
	if s.config.Anonymous != nil && attrs.User.Name == identity.UserAnonymous && !s.config.Anonymous(attrs.URI()) {
		return apierrors.NewUnauthorized("Unauthorized")
	}
	allowed, reason, err := s.config.Authorizer.Authorize(ctx, attrs)
	if record != nil {
		record.Decided(allowed, s.explain(attrs, allowed, reason))
	}
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("authorize: %w", err))
	}
	if !allowed {
		return authz.Forbidden(attrs, reason)
	}
	return nil
}

// explain returns why a decision is as it is: the reason for a refusal, or what grants a right.
func (s *Server) explain(attrs authz.Attributes, allowed bool, reason string) string {
	explainer, ok := s.config.Authorizer.(interface {
		Explain(attrs authz.Attributes) string
	})
	if allowed && ok {
		return explainer.Explain(attrs)
	}
	return reason
}

func (r *request) check(verb string) error {
	if r.collection == nil && !r.Computed && verb != "create" {
		return apierrors.NewMethodNotSupported(r.groupResource(), verb)
	}
	if r.subresource == "" && len(r.Verbs) > 0 && !slices.Contains(r.Verbs, verb) {
		return apierrors.NewMethodNotSupported(r.groupResource(), verb)
	}
	if !r.Namespaced && r.namespace != "" && !(r.Resource == "namespaces" && r.namespace == r.name) {
		return apierrors.NewBadRequest("namespace may not be set for " + r.Resource)
	}
	switch verb {
	case "list", "watch", "deletecollection":
		return nil
	}
	if r.Namespaced && r.namespace == "" {
		return apierrors.NewBadRequest("an empty namespace may not be set")
	}
	if verb != "create" && r.name == "" {
		return apierrors.NewBadRequest("name must be provided")
	}
	return nil
}

func (r *request) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Resource}
}

func (r *request) key() string { return r.collection.Key(r.namespace, r.name) }

func (r *request) notFound() error { return apierrors.NewNotFound(r.groupResource(), r.name) }

func (r *request) warn(texts ...string) { r.warnings = append(r.warnings, texts...) }

// errElsewhere is for the kinds of aggregated APIs.
func errElsewhere(gv schema.GroupVersion) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 405, Reason: metav1.StatusReasonMethodNotAllowed,
		Message: gv.String() + " is served by another API server: ask for it through the REST API", Details: &metav1.StatusDetails{Group: gv.Group},
	}}
}

// errUnknownKind is what Kubernetes answers where nothing is served.
func errUnknownKind() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 404, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{},
	}}
}
