package server

import (
	"context"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/registry"
)

// createVirtual answers a create of a kind that is not stored: the object comes back completed.
func (s *Server) createVirtual(ctx context.Context, r *request, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	strict, err := strictnessOf(req.GetOptions())
	if err != nil {
		return nil, err
	}
	obj := r.New()
	if err := r.decodeBody(req.GetObject(), r.GroupVersionKind, obj, strict); err != nil {
		return nil, err
	}
	if b, ok := obj.(*corev1.Binding); ok {
		return s.bindNamed(ctx, r, b, req)
	}
	r.Default(obj)
	if err := r.invalid(r.Validate(obj)); err != nil {
		return nil, err
	}
	if err := s.review(ctx, r, obj); err != nil {
		return nil, err
	}
	env, err := encodeObject(r.GroupVersionKind, obj, req.GetAs())
	return &apiv1.Result{Object: env, Created: true, Warnings: r.allWarnings()}, err
}

// bindNamed is a binding that is posted beside the pods and not below its pod.
func (s *Server) bindNamed(ctx context.Context, r *request, b *corev1.Binding, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	pods, ok := s.lookup(corev1.SchemeGroupVersion.WithKind("Pod"))
	if !ok {
		return nil, errUnknownKind()
	}
	one := *r
	one.served, one.name, one.subresource = pods, b.Name, "binding"
	return s.createSubresource(ctx, &one, req)
}

func (s *Server) review(ctx context.Context, r *request, obj registry.Object) error {
	switch o := obj.(type) {
	case *authenticationv1.TokenReview:
		return s.reviewToken(ctx, o)
	case *authenticationv1.SelfSubjectReview:
		o.CreationTimestamp = metav1.NewTime(r.now).Rfc3339Copy()
		o.Status.UserInfo = r.user.Info()
		return nil
	case *authorizationv1.SelfSubjectAccessReview:
		attrs, err := r.accessAttributes(o.Spec.ResourceAttributes, o.Spec.NonResourceAttributes)
		if err != nil {
			return err
		}
		attrs.User = r.user
		o.Status = s.reviewAccess(ctx, attrs, o.Spec.ResourceAttributes)
		return nil
	case *authorizationv1.SubjectAccessReview:
		return s.reviewSubject(ctx, r, &o.Spec, &o.Status)
	case *authorizationv1.LocalSubjectAccessReview:
		if err := r.checkLocal(&o.Spec); err != nil {
			return err
		}
		return s.reviewSubject(ctx, r, &o.Spec, &o.Status)
	case *authorizationv1.SelfSubjectRulesReview:
		if o.Spec.Namespace == "" {
			return apierrors.NewBadRequest("no namespace on request")
		}
		o.Status = s.config.RulesFor(r.user, o.Spec.Namespace)
		return nil
	}
	return apierrors.NewMethodNotSupported(r.groupResource(), "create")
}

// checkLocal refuses a review of a namespace that asks about something elsewhere.
func (r *request) checkLocal(spec *authorizationv1.SubjectAccessReviewSpec) error {
	var errs field.ErrorList
	if ra := spec.ResourceAttributes; ra != nil && ra.Namespace != r.namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec", "resourceAttributes", "namespace"), ra.Namespace, "must match metadata.namespace"))
	}
	if path := spec.NonResourceAttributes; path != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec", "nonResourceAttributes"), path, "disallowed on this kind of request"))
	}
	return r.invalid(errs)
}

func (s *Server) reviewToken(ctx context.Context, o *authenticationv1.TokenReview) error {
	if o.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	user, audiences, err := s.config.ReviewToken(ctx, o.Spec.Token, o.Spec.Audiences)
	if err != nil {
		o.Status = authenticationv1.TokenReviewStatus{Error: err.Error()}
		return nil
	}
	o.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: user.Info(), Audiences: audiences}
	return nil
}

func (s *Server) reviewSubject(ctx context.Context, r *request, spec *authorizationv1.SubjectAccessReviewSpec, status *authorizationv1.SubjectAccessReviewStatus) error {
	attrs, err := r.accessAttributes(spec.ResourceAttributes, spec.NonResourceAttributes)
	if err != nil {
		return err
	}
	if spec.User == "" && len(spec.Groups) == 0 {
		return r.invalid(field.ErrorList{field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified")})
	}
	attrs.User = identity.User{Name: spec.User, UID: spec.UID, Groups: spec.Groups}
	for key, values := range spec.Extra {
		if attrs.User.Extra == nil {
			attrs.User.Extra = map[string][]string{}
		}
		attrs.User.Extra[key] = values
	}
	*status = s.reviewAccess(ctx, attrs, spec.ResourceAttributes)
	return nil
}

func (r *request) accessAttributes(res *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) (authz.Attributes, error) {
	switch {
	case res != nil && path != nil:
		bad := field.Invalid(field.NewPath("spec", "nonResourceAttributes"), path, "cannot be specified in combination with resourceAttributes")
		return authz.Attributes{}, r.invalid(field.ErrorList{bad})
	case res != nil:
		if errs := checkSelectors(res, field.NewPath("spec", "resourceAttributes")); len(errs) > 0 {
			return authz.Attributes{}, r.invalid(errs)
		}
		selector, _ := fieldSelectorOf(res.FieldSelector)
		return authz.Attributes{
			Verb: res.Verb, Group: res.Group, Version: res.Version, Resource: res.Resource, Subresource: res.Subresource,
			Namespace: res.Namespace, Name: res.Name, FieldSelector: selector,
		}, nil
	case path != nil:
		return authz.Attributes{Verb: path.Verb, Path: path.Path}, nil
	}
	bad := field.Invalid(field.NewPath("spec", "resourceAttributes"), res, "exactly one of nonResourceAttributes or resourceAttributes must be specified")
	return authz.Attributes{}, r.invalid(field.ErrorList{bad})
}

func (s *Server) reviewAccess(ctx context.Context, attrs authz.Attributes, asked *authorizationv1.ResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	allowed, reason, err := s.config.Authorizer.Authorize(ctx, attrs)
	out := authorizationv1.SubjectAccessReviewStatus{Allowed: allowed, Reason: s.explain(attrs, allowed, reason)}
	notes := selectorNotes(asked)
	if err != nil {
		notes = append([]string{err.Error()}, notes...)
	}
	out.EvaluationError = strings.Join(notes, "; ")
	return out
}
