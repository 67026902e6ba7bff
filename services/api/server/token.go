package server

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/registry"
)

var gvkTokenRequest = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

// The life of tokens, in seconds.
const (
	tokenDefault = 3600
	tokenMin     = 600
	tokenMax     = 1 << 32
)

// requestToken signs a token for a service account.
func (s *Server) requestToken(ctx context.Context, r *request, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	strict, err := strictnessOf(req.GetOptions())
	if err != nil {
		return nil, err
	}
	body := &authenticationv1.TokenRequest{}
	if err := r.decodeBody(req.GetObject(), gvkTokenRequest, body, strict); err != nil {
		return nil, err
	}
	it, _, err := s.recent(ctx, r)
	if err != nil {
		return nil, err
	}
	account, err := it.object(r.Kind)
	if err != nil {
		return nil, err
	}
	tokens, err := s.config.Tokens()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	asked := body.Spec.Audiences
	if err := completeTokenRequest(body, account, s.ownAudiences(tokens)); err != nil {
		return nil, err
	}
	spec := identity.TokenSpec{
		Namespace: r.namespace, ServiceAccount: refOf(account), Audiences: body.Spec.Audiences,
		Life: time.Duration(*body.Spec.ExpirationSeconds) * time.Second,
	}
	if err := s.bindToken(ctx, r, &spec, body.Spec.BoundObjectRef, asked); err != nil {
		return nil, err
	}
	// A node may ask for tokens of its own pods only.
	if err := s.admitPart(ctx, r, admission.Create, gvkTokenRequest, body, nil, req.GetOptions().GetDryRun()); err != nil {
		return nil, err
	}
	token, expires, err := tokens.Sign(spec)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	body.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	env, err := encodeObject(gvkTokenRequest, body, req.GetAs())
	return &apiv1.Result{Object: env, Warnings: r.allWarnings()}, err
}

// ownAudiences are those of tokens for the API itself.
func (s *Server) ownAudiences(tokens *identity.Tokens) []string {
	if len(s.config.Audiences) > 0 {
		return s.config.Audiences
	}
	return []string{tokens.Issuer()}
}

func refOf(obj registry.Object) identity.Ref {
	return identity.Ref{Name: obj.GetName(), UID: string(obj.GetUID())}
}

func completeTokenRequest(t *authenticationv1.TokenRequest, account registry.Object, own []string) error {
	if t.Spec.ExpirationSeconds == nil {
		seconds := int64(tokenDefault)
		t.Spec.ExpirationSeconds = &seconds
	}
	if len(t.Spec.Audiences) == 0 {
		t.Spec.Audiences = own
	}
	path := field.NewPath("spec", "expirationSeconds")
	var errs field.ErrorList
	switch seconds := *t.Spec.ExpirationSeconds; {
	case seconds < tokenMin:
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration less than 10 minutes"))
	case seconds > tokenMax:
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(gvkTokenRequest.GroupKind(), t.Name, errs)
	}
	t.Name, t.Namespace, t.UID, t.CreationTimestamp = account.GetName(), account.GetNamespace(), account.GetUID(), metav1.Now().Rfc3339Copy()
	return nil
}

// bindToken ties a token's life to the object that the request names. Nodes get tokens for their own pods only.
func (s *Server) bindToken(ctx context.Context, r *request, spec *identity.TokenSpec, ref *authenticationv1.BoundObjectReference, asked []string) error {
	node, isNode := identity.NodeName(r.user)
	if ref == nil {
		if isNode {
			return apierrors.NewForbidden(r.groupResource(), r.name, fmt.Errorf("node requested token not bound to a pod"))
		}
		return nil
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	namespace := r.namespace
	if gvk.Kind == "Node" {
		namespace = ""
	}
	place := map[schema.GroupVersionKind]**identity.Ref{
		corev1.SchemeGroupVersion.WithKind("Pod"): &spec.Pod, corev1.SchemeGroupVersion.WithKind("Secret"): &spec.Secret,
		corev1.SchemeGroupVersion.WithKind("Node"): &spec.Node,
	}[gvk]
	if place == nil {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk))
	}
	obj, err := s.Read(ctx, gvk, namespace, ref.Name)
	if err != nil {
		return err
	}
	if ref.UID != "" && ref.UID != obj.GetUID() {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	bound := refOf(obj)
	*place = &bound
	pod, isPod := obj.(*corev1.Pod)
	if isPod {
		if pod.Spec.ServiceAccountName != r.name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", r.name))
		}
		if err := s.nameNode(ctx, spec, pod); err != nil {
			return err
		}
	}
	if isNode && (!isPod || pod.Spec.NodeName != node) {
		return apierrors.NewForbidden(r.groupResource(), r.name, fmt.Errorf("node requested token bound to a pod scheduled on a different node"))
	}
	if isNode {
		return s.checkAudience(ctx, r, pod, asked)
	}
	return nil
}

// nameNode puts the pod's node into its token.
func (s *Server) nameNode(ctx context.Context, spec *identity.TokenSpec, pod *corev1.Pod) error {
	if pod.Spec.NodeName == "" {
		return nil
	}
	obj, err := s.Read(ctx, corev1.SchemeGroupVersion.WithKind("Node"), "", pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		spec.Node = &identity.Ref{Name: pod.Spec.NodeName}
		return nil
	}
	if err != nil {
		return err
	}
	bound := refOf(obj)
	spec.Node = &bound
	return nil
}
